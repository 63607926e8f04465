// The header of a file: sections 3 to 9 of the specification.
import { createHash } from "node:crypto";

const MAGIC = "\x89WAX\r\n\x1a\n", PLACES = [0, 4096, 8192, 16384, 32768, 65536]; // 7.2; all but 0 are a bank_len
export const ARN = /^(arn:aws[a-z-]*:kms:)([a-z0-9-]{1,32})(:[0-9]{12}:key\/)([A-Za-z0-9-]{1,128})$/, HEX = /^[0-9a-f]{32}$/;
const SHAPES = { 1: [ARN], 2: [HEX, 104], 3: [/^$/, 148], 4: [ARN, 1192, 1672], 5: [ARN, 488, 616], 6: [HEX, 1224] }; // 9.1
const EXITS = { header: 3, newer: 3, demand: 8, slot: 5, commitment: 4, payload: 4, truncated: 4, usage: 2, io: 7 };

export class Fail extends Error {
  constructor(kind, message, code = EXITS[kind]) { super(message); Object.assign(this, { kind, code }); }
}
export function require(truth, message, kind = "header", code) { if (!truth) throw new Fail(kind, message, code); }

// Bytes that are compared or looked up are strings with one character (0 to 255) for each byte.
export const bytes = (text) => Buffer.from(text, "latin1"), binary = (buffer) => buffer.toString("latin1");
export const hash = (name, data, options) => createHash(name, options).update(data).digest();
export const sha256 = (data) => hash("sha256", data), digits = (data) => sha256(data).toString("hex").slice(0, 8);

function isText(raw) { // 5.2, 9.1
  try { return !/[\x00-\x1f\x7f-\x9f]/.test(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes(raw))); }
  catch { return false; }
}
export function checkEntries(entries, kind) { // 5.2
  require(entries.length <= 64, "more than 64 entries", kind);
  const seen = new Set();
  entries.forEach(([key, value], n) => {
    require(key && value && isText(key) && isText(value), "an entry is empty or not valid text", kind);
    require(n === 0 || entries[n - 1][0] < key, "entries are not in ascending order, or two have the same key", kind);
    const lower = key.replace(/[A-Z]+/g, (part) => part.toLowerCase());
    require(!seen.has(lower), "keys differ only in case", kind);
    require(!lower.startsWith("waxseal:") && !lower.startsWith("aws:"), "a key is reserved", kind);
    seen.add(lower);
  });
}
function checkSlots(slots) { // 9.1
  const seen = new Set();
  for (const { kind, id, wrapped } of slots) {
    const [form, ...sizes] = SHAPES[kind] ?? [/^/], size = wrapped.length;
    const fits = kind === 1 ? size >= 1 && size <= 6144 : kind > 6 || sizes.includes(size);
    require(kind > 0 && fits && form.test(id) && isText(id), `a slot of kind ${kind} has a wrong key id or length`);
    const name = `${[4, 5].includes(kind) ? 1 : kind} ${id}`; // a KMS key is of one kind
    require(kind > 6 || !seen.has(name), "duplicate slots");
    seen.add(name);
  }
}

export async function readAt(file, offset, size) { // less at the end of the file
  const buffer = Buffer.alloc(size);
  let length = 0, more = -1;
  for (; more !== 0 && length < size; length += more) ({ bytesRead: more } = await file.read(buffer, length, size - length, offset + length));
  return buffer.subarray(0, length);
}
const peek = (file, offset, size) => readAt(file, offset, size).catch(() => Buffer.alloc(0)); // what cannot be read is absent
const holdsMagic = async (file, place) => binary(await peek(file, place, 8)) === MAGIC;

async function readBank(file, number, place) { // 6; undefined is "damaged"
  const head = await peek(file, place, 16), length = head.length < 16 ? 0 : head.readUInt32LE(12);
  if (binary(head.subarray(0, 8)) !== MAGIC || length === 0 || !PLACES.includes(length) || place !== number * length) return;
  const raw = await peek(file, place, length), end = length - 32;
  if (raw.length < length || !raw.subarray(0, 16).equals(head) || !sha256(raw.subarray(0, end)).equals(raw.subarray(end))) return;
  if (raw.readUInt16LE(22) !== number) return;
  const version = raw.readUInt16LE(8), suite = raw.readUInt16LE(10), count = raw.readUInt16LE(20);
  require(version === 1, `version ${version}`, "newer");
  require((suite === 1 || suite === 2) && raw.readUInt16LE(96) <= 1 && count >= 1 && count <= 16, "wrong suite, flags or slot_count");
  let at = 98;
  const take = (size) => {
    require(size <= end - at, `the field at ${at} does not fit into the bank`);
    at += size;
    return binary(raw.subarray(at - size, at));
  };
  const u16 = () => bytes(take(2)).readUInt16LE(), string = () => take(u16());
  const list = () => { // 5.1
    const entries = [], count = u16();
    require(count <= 64, "more than 64 entries");
    while (entries.length < count) entries.push([string(), string()]);
    checkEntries(entries, "header");
    return entries;
  };
  const pairs = list(), labels = list(), bound = Buffer.concat([raw.subarray(0, 12), raw.subarray(80, at)]), slots = [];
  require(at - 96 <= 8192, "pairs and labels are too long");
  while (slots.length < count) slots.push({ kind: u16(), id: string(), wrapped: string() });
  checkSlots(slots);
  require(raw.subarray(at, end).every((byte) => byte === 0), "the filling is not zero");
  return { length, suite, generation: raw.readUInt32LE(16), prelude: raw.subarray(24, 80), dataKeyId: raw.toString("hex", 80, 96), pairs, labels, slots, bound };
}

export async function readBanks(file) { // 7.1: the bank that counts, and a warning
  const zero = await readBank(file, 0, 0), others = [];
  for (const place of PLACES.slice(1)) if (await holdsMagic(file, place)) others.push(place);
  if (!zero) { // 7.3
    require(others.length || await holdsMagic(file, 0), "not a waxseal file");
    require(others.length < 2, "the magic is at more than one place");
    const one = others.length ? await readBank(file, 1, others[0]) : undefined;
    require(one, "damaged header");
    return [one, "bank 0 is damaged"];
  }
  require(others.every((place) => place === zero.length), "the magic is at a place where no bank may be");
  const last = await readAt(file, 2 * zero.length - 1, 1).catch(() => " ");
  require(last.length, "the file ends before its header");
  const one = await readBank(file, 1, zero.length);
  if (!one) return [zero, "bank 1 is damaged"];
  require(zero.bound.equals(one.bound) && zero.prelude.equals(one.prelude), "the banks have different bound bytes or preludes"); // 7.5
  const d = (one.generation - zero.generation) >>> 0, differ = d !== 0 || JSON.stringify(zero.slots) !== JSON.stringify(one.slots);
  return [0 < d && d < 2 ** 31 ? one : zero, differ ? "the banks differ in generation or slots" : ""];
}
