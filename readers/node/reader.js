#!/usr/bin/env node
// Opens a waxseal v1 file with Node.js 20.19 or newer. It was written from spec/waxseal-v1.md alone. Numbers in comments
// are sections of that document; 1.3 lists the exit codes. First run `npm ci` in this folder. Then:
//
//     node reader.js --keyfile backup.key --identity my.identity --passphrase-file word.txt db.wax db
//     node reader.js --kms ARN db.wax -                                     calls AWS KMS
//     node reader.js --data-key ARN=FILE --shared-secret ARN=FILE db.wax -  uses what `aws kms` printed (base64)
//
// It opens all kinds of slots and both suites. It does not seal and does not read recipient files. A KMS key has to be
// named by its ARN. Argon2id is JavaScript here: a passphrase takes seconds. IN must be a file, not a pipe. The banks
// are read only once (7.7).
import { createDecipheriv, createHmac, createPrivateKey, createPublicKey, diffieHellman, randomBytes, timingSafeEqual } from "node:crypto";
import { lstatSync, realpathSync, statSync, unlinkSync } from "node:fs";
import { lstat, open, readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { constants } from "node:os";
import { parseArgs } from "node:util";
import { ARN, Fail, binary, bytes, checkEntries, digits, hash, readAt, readBanks, require, sha256 } from "./header.js";

const AEADS = { 1: ["aes-256-gcm", "AEAD_AES_256_GCM"], 2: ["chacha20-poly1305", "AEAD_CHACHA20_POLY1305"] };
const NAMES = { 4: "aws-kms-ml-kem", 5: "aws-kms-rsa", 6: "x-wing" };

function expand(prk, info, length) { // HKDF-Expand-SHA-512
  let out = Buffer.alloc(0), block = out;
  for (let n = 1; out.length < length; n++) {
    block = createHmac("sha512", prk).update(block).update(info).update(Buffer.of(n)).digest();
    out = Buffer.concat([out, block]);
  }
  return out.subarray(0, length);
}
// A function that opens chunk k, or undefined if the commitment is another one (11.2, 11.3).
function chunkOpener(key, suite, prelude, context) {
  const [cipher, name] = AEADS[suite];
  const derived = expand(key, Buffer.concat([bytes(`c2sp.org/chunked-encryption@v1+${name}\0`), prelude.subarray(0, 24), context]), 76);
  if (!timingSafeEqual(derived.subarray(44), prelude.subarray(24))) return;
  return (k, sealed) => {
    const nonce = Buffer.from(derived.subarray(32, 44)), end = sealed.length - 16;
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ BigInt(k), 4);
    const aead = createDecipheriv(cipher, derived.subarray(0, 32), nonce, { authTagLength: 16 }).setAuthTag(sealed.subarray(end));
    const plaintext = aead.update(sealed.subarray(0, end)); // nobody sees it before `final` has verified the tag
    aead.final();
    return plaintext;
  };
}
function unwrap(key, context, message, code) { // 9.3
  const chunk = chunkOpener(key, 1, message.subarray(0, 56), context);
  try { if (chunk) return chunk(0, message.subarray(56)); } catch { /* the tag is wrong */ }
  throw new Fail("slot", "the wrapped data key does not open", code);
}

async function onlyLine(path, form) { // 9.4
  const text = binary(await readFile(path)), lines = text.split(/\r?\n/).filter((line) => line && line[0] !== "#");
  const match = lines.length === 1 && form.exec(lines[0]);
  require(match, `${path}: not a file of the expected form`, "usage");
  return match;
}
async function loadKeyfile(path) { // 9.4
  const [, text, check] = await onlyLine(path, /^waxseal-key-v1:([0-9a-f]{64}):([0-9a-f]{8})$/), key = Buffer.from(text, "hex");
  require(digits(key) === check, `${path}: wrong check digits`, "usage");
  return [expand(key, bytes("waxseal v1 key id"), 16).toString("hex"), key];
}
async function loadIdentity(path) { // 9.9, 9.11
  const [, line, seed, check] = await onlyLine(path, /^(waxseal-identity-v1:x-wing:([0-9a-f]{64})):([0-9a-f]{8})$/);
  require(digits(bytes(line)) === check, `${path}: wrong check digits`, "usage");
  const { ml_kem768: mlKem } = await import("@noble/post-quantum/ml-kem.js");
  const expanded = hash("shake256", Buffer.from(seed, "hex"), { outputLength: 96 }), pair = mlKem.keygen(expanded.subarray(0, 64));
  const scalar = createPrivateKey({ key: Buffer.concat([Buffer.from("302e020100300506032b656e04220420", "hex"), expanded.subarray(64)]), format: "der", type: "pkcs8" });
  const ours = createPublicKey(scalar).export({ format: "der", type: "spki" }).subarray(-32);
  const id = sha256(Buffer.concat([bytes("waxseal v1 recipient\0"), pair.publicKey, ours])).toString("hex").slice(0, 32);
  return [id, (sent) => {
    const theirs = sent.subarray(1088), key = Buffer.concat([Buffer.from("302a300506032b656e032100", "hex"), theirs]);
    let shared;
    try { shared = diffieHellman({ privateKey: scalar, publicKey: createPublicKey({ key, format: "der", type: "spki" }) }); }
    catch { throw new Fail("slot", "X25519 gives zero", 4); }
    return hash("sha3-256", Buffer.concat([mlKem.decapsulate(sent.subarray(0, 1088), pair.secretKey), shared, theirs, ours, bytes("\\.//^\\")]));
  }];
}
async function loadAnswer(given) { // KEY-ID=FILE: what the command line tool of AWS printed
  const [, id, path] = /^([^=]*)=(.+)$/s.exec(given) ?? [];
  require(path, "an answer of AWS KMS is given as KEY-ID=FILE", "usage");
  const text = binary(await readFile(path)).trim();
  require(/^[A-Za-z0-9+/]*={0,2}$/.test(text), `${path}: not base64`, "usage");
  return [id, Buffer.from(text, "base64")];
}

async function openPassphrase(phrase, wrapped, bound) { // 9.5
  const [m, t, p] = [0, 4, 8].map((at) => wrapped.readUInt32LE(at)), within = (n, least, most) => least <= n && n <= most;
  require(within(m, 19456, 2 ** 20) && within(t, 1, 16) && within(p, 1, 16) && m * t <= 2 ** 22, "Argon2id parameters out of range", "slot");
  const { argon2id } = await import("@noble/hashes/argon2.js");
  const key = argon2id(phrase, wrapped.subarray(12, 44), { m, t, p, dkLen: 32, maxmem: 2 ** 31 - 1 });
  return unwrap(key, Buffer.concat([bytes("waxseal v1 passphrase\0"), wrapped.subarray(0, 44), bound]), wrapped.subarray(44), 5);
}
function openPublic(kind, secret, wrapped, bound) { // 9.7
  require(secret.length === 32, "the shared secret does not have 32 bytes", "slot", 4);
  return unwrap(secret, Buffer.concat([bytes(`waxseal v1 ${NAMES[kind]}\0`), wrapped.subarray(0, -104), bound]), wrapped.subarray(-104), 4);
}
function kmsNamed(names, id) { // 10.3
  const slot = ARN.exec(id);
  return names.find((name) => name === id || slot[4].startsWith("mrk-") && name.replace(ARN, "$1$3$4") === id.replace(ARN, "$1$3$4"));
}
async function askKms(arn, { kind, wrapped }, bank) { // 10.4, 12.2
  const { KMSClient, DecryptCommand, DecapsulateCommand } = await import("@aws-sdk/client-kms");
  const utf8 = (raw) => bytes(raw).toString(), pairs = Object.fromEntries(bank.pairs.map((pair) => pair.map(utf8)));
  const blob = bytes(kind === 1 ? wrapped : wrapped.slice(0, -104));
  const command = kind === 4 ? new DecapsulateCommand({ KeyId: arn, SharedSecretCiphertextBlob: blob, EncapsulationAlgorithm: "ML_KEM" })
    : kind === 5 ? new DecryptCommand({ KeyId: arn, CiphertextBlob: blob, EncryptionAlgorithm: "RSAES_OAEP_SHA_256" })
      : new DecryptCommand({ KeyId: arn, CiphertextBlob: blob, EncryptionAlgorithm: "SYMMETRIC_DEFAULT", EncryptionContext: { ...pairs, "waxseal:data-key-id": bank.dataKeyId } });
  let answer;
  try { answer = await new KMSClient({ region: ARN.exec(arn)[2] }).send(command); } catch (error) {
    const status = error.$metadata?.httpStatusCode, again = error.$retryable || status >= 500 || /Throttl|Timeout|ECONN|ENOTFOUND|EAI_AGAIN/.test(`${error.name} ${error.code}`);
    const said = error.$fault ? `${error.name}: ${error.message}` : `${error.name} ${error.code ?? ""}`; // never the text of a parser
    throw new Fail("slot", `AWS KMS: ${said}`, /InvalidCiphertext/.test(error.name) ? 4 : again ? 6 : 5);
  }
  const key = Buffer.from(answer.SharedSecret ?? answer.Plaintext ?? "");
  require(answer.KeyId === arn && key.length === 32, "wrong answer from KMS", "slot", 4);
  return key;
}

// The data key from a slot, or undefined if no key fits it (12.1, step 4).
async function openSlot(slot, bank, keys) {
  const { kind, id } = slot, wrapped = bytes(slot.wrapped), { bound } = bank;
  if (kind === 2 && keys.keyfile.has(id)) return unwrap(keys.keyfile.get(id), Buffer.concat([bytes("waxseal v1 keyfile\0"), bound]), wrapped, 4);
  if (kind === 3 && keys.passphrase) return openPassphrase(keys.passphrase, wrapped, bound);
  if (kind === 6 && keys.identity.has(id)) return openPublic(6, keys.identity.get(id)(wrapped.subarray(0, 1120)), wrapped, bound);
  if ((kind === 4 || kind === 5) && keys.secret.has(id)) return openPublic(kind, keys.secret.get(id), wrapped, bound);
  if ((kind === 1 || kind > 6) && keys.dataKey.has(id)) return keys.dataKey.get(id);
  const arn = [1, 4, 5].includes(kind) && kmsNamed(keys.kms, id);
  if (arn) return askKms(arn, slot, bank).then((key) => kind === 1 ? key : openPublic(kind, key, wrapped, bound));
}
async function unlock(file, bank, keys) { // 12.1, steps 2 to 8: a function that opens chunks
  const start = 2 * bank.length, has = (list, [key, value]) => list.some((entry) => entry[0] === key && entry[1] === value);
  require((await readAt(file, start + 71, 1)).length, "the file ends before the end of its first chunk", "truncated");
  require(keys.pairs.every((pair) => has(bank.pairs, pair)), "the file does not have a demanded pair", "demand"); // 5.3
  require(keys.labels.every((label) => has(bank.labels, label)), "the file does not have a demanded label", "demand");
  let worst = new Fail("slot", "no slot matches a key that was given");
  const rank = (fail) => fail.kind === "commitment" ? 9 : [5, 6, 4].indexOf(fail.code); // 12.2
  for (const slot of bank.slots) {
    try {
      const key = await openSlot(slot, bank, keys);
      if (!key) continue;
      require(key.length === 32, "the data key does not have 32 bytes", "slot");
      const prelude = await readAt(file, start, 56);
      if (!prelude.equals(bank.prelude)) throw Object.assign(new Fail("commitment", "the payload has another prelude"), { final: true });
      const chunk = chunkOpener(key, bank.suite, bank.prelude, bank.bound);
      require(chunk, "the data key does not belong to this header", "commitment");
      return chunk;
    } catch (error) {
      if (!(error instanceof Fail) || error.final) throw error; // no other slot helps
      if (rank(error) >= rank(worst)) worst = error;
    }
  }
  throw worst;
}
async function release(file, start, chunk, write) { // 12.1, step 9
  for (let k = 0; ; k++) {
    require(k < 2 ** 38, "more than 2^38 chunks", "payload");
    const sealed = await readAt(file, start + 56 + 16400 * k, 16400);
    require(sealed.length >= 16, `the file ends before the end of chunk ${k}`, "truncated");
    let plaintext;
    try { plaintext = chunk(k, sealed); } catch { throw new Fail("payload", `chunk ${k} does not authenticate`); }
    await write(plaintext);
    if (sealed.length < 16400) return;
  }
}

async function openInput(path) { // 1.3
  const file = await open(path).catch((error) => {
    const isFolder = (folder) => { try { return statSync(folder).isDirectory(); } catch { return false; } };
    const isThere = () => { try { return lstatSync(path); } catch (own) { return own.code !== "ENOENT"; } };
    const missing = error.code === "ENOENT" && !path.endsWith("/") && isFolder(dirname(path)) && !isThere();
    throw new Fail("io", error.message, missing ? 10 : 7);
  });
  require((await file.stat()).isFile(), `${path} is not a regular file`, "usage");
  return file;
}
// Lets `fill` write a temporary file, which gets its name when it is complete. Only a file is replaced, and not the input.
async function toFile(path, input, fill) {
  const there = await lstat(path).catch((error) => { if (error.code !== "ENOENT") throw error; }), own = await input.stat();
  require(!there || there.isFile(), `${path} exists and is not a regular file`, "usage");
  require(!there || there.ino !== own.ino || there.dev !== own.dev, `${path} is the input`, "usage");
  const name = join(dirname(path), `.reader-${randomBytes(8).toString("hex")}`), signals = ["SIGHUP", "SIGINT", "SIGTERM"];
  const remove = () => { try { unlinkSync(name); } catch { /* it is not there */ } };
  let out, early; // a signal may come while the file is being made
  const ended = (signal) => {
    if (!out) { early = signal; return; }
    remove();
    process.exit(128 + constants.signals[signal]);
  };
  signals.forEach((signal) => process.on(signal, ended));
  try {
    out = await open(name, "wx", 0o600);
    if (early) ended(early);
    await fill((part) => out.writeFile(part));
    await out.sync();
    await out.close();
    await rename(name, path);
  } catch (error) { if (out) remove(); await out?.close(); throw error; } finally { signals.forEach((signal) => process.off(signal, ended)); }
}

function parse(args) {
  const several = { type: "string", multiple: true, default: [] };
  const options = { keyfile: several, identity: several, kms: several, "data-key": several, "shared-secret": several,
    context: { ...several, short: "c" }, label: { ...several, short: "l" }, "passphrase-file": { type: "string" } };
  try { return parseArgs({ args, options, allowPositionals: true }); } catch (error) { throw new Fail("usage", error.message); }
}
async function prepare(given) {
  const all = async (list, load) => new Map(await Promise.all(list.map(load))), word = given["passphrase-file"];
  const demands = (list) => list.map((text) => {
    const [, key, value] = /^([^=]*)=(.*)$/s.exec(binary(Buffer.from(text))) ?? [];
    require(key !== undefined, "a demand is given as NAME=VALUE", "usage");
    return [key, value];
  }).sort((a, b) => a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0);
  const keys = { kms: given.kms, pairs: demands(given.context), labels: demands(given.label) };
  checkEntries(keys.pairs, "usage");
  checkEntries(keys.labels, "usage");
  require(keys.kms.every((arn) => ARN.test(arn)), "--kms takes the ARN of a key", "usage");
  keys.keyfile = await all(given.keyfile, loadKeyfile);
  keys.identity = await all(given.identity, loadIdentity);
  keys.dataKey = await all(given["data-key"], loadAnswer);
  keys.secret = await all(given["shared-secret"], loadAnswer);
  if (word !== undefined) {
    const phrase = binary(await readFile(word)).replace(/\n$/, "");
    require(phrase.length >= 1 && phrase.length <= 1024, "a passphrase has 1 to 1024 bytes", "usage");
    keys.passphrase = bytes(phrase);
  }
  return keys;
}
// Opens a file as the command line says, and returns the exit code. `write` and `say` stand for stdout and stderr.
export async function main(args, write, say) {
  let file;
  try {
    const { values, positionals: [input, output, ...more] } = parse(args), keys = await prepare(values);
    require(output && !more.length, "reader OPTIONS IN OUT", "usage");
    file = await openInput(input);
    const [bank, warning] = await readBanks(file);
    if (warning) say(`reader: warning: ${warning}\n`);
    const chunk = await unlock(file, bank, keys), fill = (sink) => release(file, 2 * bank.length, chunk, sink);
    await (output === "-" ? fill(write) : toFile(output, file, fill));
    return 0;
  } catch (error) {
    const { kind, code, message } = error instanceof Fail ? error : { kind: "io", code: 7, message: error.message };
    if (!(error instanceof Fail) && !error.syscall) throw error; // a fault of this program
    say(`reader: ${kind}: ${message}\n`);
    return code;
  } finally { await file?.close(); }
}
if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { stdout } = process;
  stdout.on("error", () => { /* `write` also gets it */ });
  const write = (part) => new Promise((done, failed) => stdout.write(part, (error) => error ? failed(error) : done()));
  process.exitCode = await main(process.argv.slice(2), write, (text) => process.stderr.write(text));
}
