#!/usr/bin/env python3
"""Opens a waxseal v1 file. Numbers in comments are the sections of waxseal-v1.md; 1.3 lists the exit codes.

Needs Python 3.9 and `cryptography` 38, or newer. Also needed: `cryptography` 48 for identities, `cryptography` 44 or
`argon2-cffi` for passphrases, `boto3` for --kms. IN must be a file, not a pipe. This program reads the banks only once
(7.7).

As a module, it gives the plaintext as a file that can seek. Pass keys and demands under the names that `prepare` lists:

    import io, reader
    with io.BufferedReader(reader.Sealed("db.wax", keyfile="backup.key")) as plaintext: ...
"""
import base64, hashlib, hmac, io, os, re, signal, stat, struct, sys, tempfile
from argparse import ArgumentParser, Namespace
try:
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import x25519
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
except ImportError as error:
    if __name__ != "__main__": raise
    sys.exit(print(f"reader: usage: this needs the Python package cryptography: pip install 'cryptography' ({error})", file=sys.stderr) or 2)

MAGIC = b"\x89WAX\r\n\x1a\n"
BANK_LENS = (4096, 8192, 16384, 32768, 65536)  # with 0, these are the six places (7.2)
SPKI = ((4, 1152, "308204b2300b0609608648016503040402038204a100", 1206, b""),  # 9.10: kind, coefficients, head, size, tail
        (4, 1536, "30820632300b06096086480165030404030382062100", 1590, b""),
        (5, 0, "308201a2300d06092a864886f70d01010105000382018f003082018a0282018100", 422, b"\2\3\1\0\1"),
        (5, 0, "30820222300d06092a864886f70d01010105000382020f003082020a0282020100", 550, b"\2\3\1\0\1"), (6, 1152, "", 1216, b""))
AEAD = {1: (AESGCM, b"AEAD_AES_256_GCM"), 2: (ChaCha20Poly1305, b"AEAD_CHACHA20_POLY1305")}
ARN = re.compile(rb"(arn:aws[a-z-]*:kms:)([a-z0-9-]{1,32})(:[0-9]{12}:key/)([A-Za-z0-9-]{1,128})")
HEX, KINDS = re.compile(rb"[0-9a-f]{32}"), {4: b"aws-kms-ml-kem", 5: b"aws-kms-rsa", 6: b"x-wing"}
EXITS = {"header": 3, "newer": 3, "demand": 8, "slot": 5, "commitment": 4, "payload": 4, "truncated": 4, "usage": 2}

class Fail(Exception):
    def __init__(self, kind, message, code=None):
        super().__init__(message)
        self.kind, self.code = kind, code or EXITS[kind]
def require(truth, message, kind="header", code=None):
    if not truth: raise Fail(kind, message, code)
def lacking(what, package): return Fail("usage", f"{what} needs the Python package {package}: pip install '{package}'")
def expand(prk, info, length): return HKDFExpand(hashes.SHA512(), length, info).derive(prk)
def sha256(data): return hashlib.sha256(data).digest()
def peek(fd, offset, size):  # None: cannot be read
    try: return os.pread(fd, size, offset)
    except OSError: return None
def is_text(raw):  # 5.2, 9.1
    try: return not re.search("[\x00-\x1f\x7f-\x9f]", raw.decode("utf-8"))
    except UnicodeDecodeError: return False

def check_entries(items, what, kind="header"):  # 5.2
    require(len(items) <= 64, f"more than 64 {what}s", kind)
    require(all(part and is_text(part) for item in items for part in item), f"a {what} is empty or not valid text", kind)
    require(all(a[0] < b[0] for a, b in zip(items, items[1:])), f"{what}s are not in ascending order, or two have the same key", kind)
    require(len({key.lower() for key, _ in items}) == len(items), f"keys of {what}s differ in case only", kind)
    require(not any(k.lower().startswith((b"waxseal:", b"aws:")) for k, _ in items), f"a {what} has a reserved key", kind)
def entries(u16, string, what):  # 5.1
    require((count := u16()) <= 64, f"more than 64 {what}s")
    check_entries(items := [(string(), string()) for _ in range(count)], what)
    return items

def read_bank(fd, number, place):  # 6: None is "damaged"
    head = peek(fd, place, 16) or b""
    if head[:8] != MAGIC or (length := int.from_bytes(head[12:], "little")) not in BANK_LENS: return None
    raw = peek(fd, place, length) or b""
    if place != number * length or len(raw) != length or raw[:16] != head or sha256(raw[:-32]) != raw[-32:]: return None
    version, suite, _, generation, slot_count, own = struct.unpack_from("<HHIIHH", raw, 8)
    if own != number: return None  # the other bank, at the wrong place
    require(version == 1, f"version {version}", "newer")
    require(suite in AEAD, f"unknown suite {suite}")
    require(raw[96] <= 1 and raw[97] == 0 and 1 <= slot_count <= 16, "wrong flags or slot_count")
    pos, end = 98, length - 32
    def take(size):
        nonlocal pos
        require(size <= end - pos, f"the field at {pos} does not fit into the bank")
        pos += size; return raw[pos - size:pos]
    u16, string = lambda: int.from_bytes(take(2), "little"), lambda: take(u16())
    pairs, labels = entries(u16, string, "pair"), entries(u16, string, "label")
    require((p := pos) - 96 <= 8192, "pairs and labels are too long")
    slots = [(u16(), string(), string()) for _ in range(slot_count)]
    for kind, key_id, wrapped in slots:  # 9
        shape = {0: False, 1: ARN.fullmatch(key_id) and 1 <= len(wrapped) <= 6144,
                 2: HEX.fullmatch(key_id) and len(wrapped) == 104, 3: not key_id and len(wrapped) == 148,
                 4: ARN.fullmatch(key_id) and len(wrapped) in (1192, 1672),
                 5: ARN.fullmatch(key_id) and len(wrapped) in (488, 616), 6: HEX.fullmatch(key_id) and len(wrapped) == 1224}
        require(is_text(key_id) and shape.get(kind, True), f"a slot of kind {kind} has a wrong key id or length")
        alike = {1, 4, 5} if kind in (1, 4, 5) else {kind}  # a KMS key is of one kind
        require(kind > 6 or sum(slot[0] in alike and slot[1] == key_id for slot in slots) == 1, "duplicate slots")
    require(not any(raw[pos:end]), "the filling is not zero")
    return Namespace(length=length, suite=suite, generation=generation, prelude=raw[24:80], pairs=pairs,
                     labels=labels, data_key_id=raw[80:96].hex(), slots=slots, bound=raw[:12] + raw[80:p])

def read_banks(fd):  # 7.1: the bank that counts, and a warning
    zero = read_bank(fd, 0, 0)
    magic = [place for place in (0, *BANK_LENS) if peek(fd, place, 8) == MAGIC]
    if zero:
        require(set(magic) <= {0, zero.length}, "the magic is at a place where no bank may be")
        require(peek(fd, 2 * zero.length - 1, 1) != b"", "the file ends before its header")
        one = read_bank(fd, 1, zero.length)
    else:
        require(magic, "not a waxseal file")
        require(sum(place > 0 for place in magic) < 2, "the magic is at more than one place")
        require(one := read_bank(fd, 1, magic[-1]), "damaged header")
    if not (zero and one): return zero or one, f"bank {1 if zero else 0} is damaged"
    require((zero.bound, zero.prelude) == (one.bound, one.prelude), "the banks have different bound bytes or preludes")
    newer = 0 < (one.generation - zero.generation) % 2**32 < 2**31
    differ = (zero.generation, zero.slots) != (one.generation, one.slots)
    return one if newer else zero, "the banks differ in generation or slots" if differ else ""

def only_line(path, pattern):  # 9.4
    lines = [line for line in re.split(rb"\r?\n", open(path, "rb").read()) if line and line[:1] != b"#"]
    require(len(lines) == 1 and (match := re.fullmatch(pattern + rb":([0-9a-f]{8})", lines[0])),
            f"{os.fsdecode(path)}: not a file of the expected form", "usage")
    return match
def load_keyfile(path):  # 9.4
    match = only_line(path, rb"waxseal-key-v1:([0-9a-f]{64})")
    key = bytes.fromhex(match[1].decode())
    require(sha256(key)[:4].hex().encode() == match[2], f"{os.fsdecode(path)}: wrong check digits", "usage")
    return expand(key, b"waxseal v1 key id", 16).hex().encode(), key
def checked_line(path, pattern):  # 9.10, 9.11
    match = only_line(path, b"(" + pattern + b")")
    require(sha256(match[1])[:4].hex().encode() == match[match.lastindex], f"{os.fsdecode(path)}: wrong check digits", "usage")
    return match
def recipient_id(public): return sha256(b"waxseal v1 recipient\0" + public)[:16].hex().encode()
def load_identity(path):  # 9.9, 9.11
    expanded = hashlib.shake_256(bytes.fromhex(checked_line(path, rb"waxseal-identity-v1:x-wing:([0-9a-f]{64})")[2].decode())).digest(96)
    try:
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
        keys = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    except (ImportError, UnsupportedAlgorithm): raise lacking("an identity", "cryptography>=48") from None
    ours = keys[1].public_key().public_bytes_raw()
    return recipient_id(keys[0].public_key().public_bytes_raw() + ours), (*keys, ours)
def open_x_wing(identity, sent):  # 9.9
    ml_kem, scalar, ours = identity
    try: shared = scalar.exchange(x25519.X25519PublicKey.from_public_bytes(sent[1088:]))
    except ValueError: raise Fail("slot", "X25519 gives zero", 4) from None
    return hashlib.sha3_256(ml_kem.decapsulate(sent[:1088]) + shared + sent[1088:] + ours + b"\\.//^\\").digest()
def open_public(kind, wrapped, bound, get_secret):  # 9.7
    sent = wrapped[:-104]
    require(len(secret := get_secret(sent)) == 32, "KMS gave no secret of 32 bytes", "slot", 4)
    return unwrap(secret, b"waxseal v1 " + KINDS[kind] + b"\0" + sent + bound, wrapped[-104:], 4)
def check_recipient(path):  # 9.10: only a check; a recipient file cannot open anything
    match = checked_line(path, rb"waxseal-recipient-v1:(x-wing|aws-kms-ml-kem|aws-kms-rsa):(.*):([A-Za-z0-9+/]*={0,2})")
    require(len(match[4]) % 4 == 0 and base64.b64encode(key := base64.b64decode(match[4])) == match[4], "wrong base64", "usage")
    for kind, coefficients, head, size, tail in SPKI:
        if KINDS[kind] == match[2] and key.startswith(bytes.fromhex(head)) and key.endswith(tail) and len(key) == size:
            break
    else: require(False, "wrong encoding of the public key", "usage")
    raw = key[len(head) // 2:len(key) - len(tail)]
    numbers = (int.from_bytes(raw[at:at + 3], "little") for at in range(0, coefficients, 3))
    require(all(n & 4095 < 3329 and n >> 12 < 3329 for n in numbers), "a coefficient is too large", "usage")
    require(kind != 5 or raw[0] >> 7 and raw[-1] & 1, "the RSA modulus is even or too short", "usage")
    require(match[3] == recipient_id(key) if kind == 6 else ARN.fullmatch(match[3]), "wrong key id", "usage")
    try: kind == 6 and x25519.X25519PrivateKey.generate().exchange(x25519.X25519PublicKey.from_public_bytes(key[1184:]))
    except ValueError: raise Fail("usage", "X25519 gives zero") from None

def chunk_opener(input_key, suite, prelude, context):  # 11.2, 11.3: a function that opens chunk k
    aead, name = AEAD[suite]
    derived = expand(input_key, b"c2sp.org/chunked-encryption@v1+" + name + b"\0" + prelude[:24] + context, 76)
    if not hmac.compare_digest(derived[44:], prelude[24:]): raise InvalidTag
    aead, base_nonce = aead(derived[:32]), int.from_bytes(derived[32:44], "big")
    return lambda k, sealed: aead.decrypt((base_nonce ^ k).to_bytes(12, "big"), sealed, None)
def unwrap(key, context, message, code):  # 9.3: a Cobblestone-256 message of one chunk
    try: return chunk_opener(key, 1, message[:56], context)(0, message[56:])
    except InvalidTag: raise Fail("slot", "the wrapped data key does not open", code) from None
def argon2id(phrase, salt, memory, passes, lanes):
    try:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
        return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(phrase)
    except (ImportError, UnsupportedAlgorithm): pass
    try: from argon2.low_level import hash_secret_raw, Type
    except ImportError: raise lacking("a passphrase", "cryptography>=44") from None
    return hash_secret_raw(phrase, salt, passes, memory, lanes, 32, Type.ID)
def open_passphrase(phrase, wrapped, bound):  # 9.5
    memory, passes, lanes = struct.unpack_from("<III", wrapped)
    require(19456 <= memory <= 1 << 20 and 1 <= passes <= 16 and 1 <= lanes <= 16 and memory * passes <= 1 << 22,
            "Argon2id parameters out of range", "slot")
    key = argon2id(phrase, wrapped[12:44], memory, passes, lanes)
    return unwrap(key, b"waxseal v1 passphrase\0" + wrapped[:44] + bound, wrapped[44:], 5)

def kms_match(slot, named):  # 10.3
    a, b = ARN.fullmatch(slot), ARN.fullmatch(named)
    return slot == named or (a[4].startswith(b"mrk-") and a.group(1, 3, 4) == b.group(1, 3, 4))
def open_kms(arn, wrapped, bank):  # 10.4, 12.2
    try: import boto3, botocore.exceptions as aws
    except ImportError: raise lacking("--kms", "boto3") from None
    context = {key.decode(): value.decode() for key, value in bank.pairs} | {"waxseal:data-key-id": bank.data_key_id}
    try: answer = boto3.client("kms", region_name=ARN.fullmatch(arn)[2].decode()).decrypt(
        KeyId=arn.decode(), CiphertextBlob=wrapped, EncryptionContext=context, EncryptionAlgorithm="SYMMETRIC_DEFAULT")
    except (aws.ClientError, aws.BotoCoreError) as error:
        altered = re.search("InvalidCiphertext", str(error))
        again = isinstance(error, (aws.ConnectionError, aws.HTTPClientError)) or re.search("Throttl|Timeout|Internal", str(error))
        raise Fail("slot", str(error), 4 if altered else 6 if again else 5) from None
    require(answer["KeyId"].encode() == arn and len(answer["Plaintext"]) == 32, "wrong answer from KMS", "slot", 4)
    return answer["Plaintext"]

def load_data_key(path):  # 12.1, step 5
    require(len(key := open(path, "rb").read()) == 32, "the data key does not have 32 bytes", "slot"); return key
def candidates(bank, keys):  # 12.1, step 4: for each usable slot, a function that gets the data key
    if keys.data_key_file: yield lambda: load_data_key(keys.data_key_file)
    for kind, key_id, wrapped in bank.slots:
        if kind == 2 and key_id in keys.keyfile:
            yield lambda: unwrap(keys.keyfile[key_id], b"waxseal v1 keyfile\0" + bank.bound, wrapped, 4)
        if kind == 1 and (arn := next((named for named in keys.kms if kms_match(key_id, named)), None)):
            yield lambda: open_kms(arn, wrapped, bank)
        if kind in (4, 5) and key_id in keys.shared_secret:
            yield lambda: open_public(kind, wrapped, bank.bound, lambda _: keys.shared_secret[key_id])
        if kind == 6 and key_id in keys.identity:
            yield lambda: open_public(6, wrapped, bank.bound, lambda sent: open_x_wing(keys.identity[key_id], sent))
        if kind == 3 and keys.passphrase: yield lambda: open_passphrase(keys.passphrase, wrapped, bank.bound)

def unlock(fd, bank, keys):  # 12.1, steps 3 to 8: a function that verifies chunk k and returns its plaintext
    start = 2 * bank.length
    require(os.pread(fd, 1, start + 71), "the file ends before the end of its first chunk", "truncated")
    for demand, carried in [(c, bank.pairs) for c in keys.c] + [(l, bank.labels) for l in keys.l]:  # 5.3
        require(tuple(demand.split(b"=", 1)) in carried, f"the file does not have {demand!r}", "demand")
    opener = find_key(fd, bank, keys)
    def chunk(k):  # 11.3
        require(k < 2**38, "more than 2^38 chunks", "payload")
        sealed = os.pread(fd, 16400, start + 56 + 16400 * k)
        require(len(sealed) >= 16, f"the file ends before the end of chunk {k}", "truncated")
        try: return opener(k, sealed)
        except InvalidTag: raise Fail("payload", f"chunk {k} does not authenticate") from None
    return chunk

def find_key(fd, bank, keys):  # 12.1, steps 4 to 8
    worst = Fail("slot", "no slot matches a key that was given")
    for get in candidates(bank, keys):
        try: data_key = get()
        except Fail as error: failure = error
        else:
            require(os.pread(fd, 56, 2 * bank.length) == bank.prelude, "the payload has another prelude", "commitment")
            try: return chunk_opener(data_key, bank.suite, bank.prelude, bank.bound)
            except InvalidTag: failure = Fail("commitment", "the data key does not belong to this header")
        if failure.kind == "usage": raise failure
        worst = max(failure, worst, key=lambda fail: (fail.kind == "commitment", (5, 6, 4).index(fail.code)))
    raise worst

class Sealed(io.RawIOBase):  # 14
    file = None
    def __init__(self, path, **given):
        keys, self.file, self.at = prepare(**given), open(path, "rb", buffering=0), 0
        bank, self.warning = read_banks(self.file.fileno())
        self.chunk = unlock(self.file.fileno(), bank, keys)
        last, rest = divmod(self.file.seek(0, os.SEEK_END) - 2 * bank.length - 56, 16400)
        require(rest >= 16, "the last chunk is incomplete", "truncated")
        self.held = last, self.chunk(last)  # no length is used before the last chunk is verified
        self.size = 16384 * last + len(self.held[1])
    def readable(self): return True
    def seekable(self): return True
    def seek(self, offset, whence=os.SEEK_SET):
        if whence not in (0, 1, 2): raise ValueError(f"whence {whence}")
        if (at := offset + (0, self.at, self.size)[whence]) < 0: raise ValueError(f"position {at}")
        self.at = at; return at
    def readinto(self, buffer):
        if self.closed: raise ValueError("the file is closed")
        if self.at >= self.size: return 0
        k, begin = divmod(self.at, 16384)
        if self.held[0] != k: self.held = k, self.chunk(k)
        buffer = memoryview(buffer).cast("B")
        part = self.held[1][begin:begin + len(buffer)]
        buffer[:len(part)] = part
        self.at += len(part); return len(part)
    def close(self): self.file and self.file.close(); super().close()

def load_base64(path):
    try: return base64.b64decode(open(path, "rb").read())
    except ValueError: raise Fail("usage", f"{os.fsdecode(path)}: not base64") from None
def prepare(keyfile=(), identity=(), recipient=(), shared_secret=(), kms=(), c=(), l=(), passphrase_file=None, data_key_file=None):
    def several(given): return [os.fsencode(one) for one in ([given] if isinstance(given, (str, bytes, os.PathLike)) else given)]
    keys = Namespace(kms=several(kms), c=several(c), l=several(l), data_key_file=data_key_file)
    require(all(map(ARN.fullmatch, keys.kms)) and all(b"=" in demand for demand in keys.c + keys.l),
            "--kms takes the ARN of a key, -c and -l take NAME=VALUE", "usage")
    for what, demands in ("demanded pair", keys.c), ("demanded label", keys.l):  # 5.3
        check_entries(sorted(tuple(demand.split(b"=", 1)) for demand in demands), what, "usage")
    keys.keyfile = dict(map(load_keyfile, several(keyfile)))
    keys.identity = dict(map(load_identity, several(identity)))
    # ARN=FILE: what `aws kms decapsulate --query SharedSecret --output text` printed, or `aws kms decrypt`'s Plaintext
    require(all(b"=" in secret for secret in several(shared_secret)), "--shared-secret takes ARN=FILE", "usage")
    keys.shared_secret = {arn: load_base64(path) for arn, path in (secret.split(b"=", 1) for secret in several(shared_secret))}
    for path in several(recipient): check_recipient(path)
    keys.passphrase = passphrase_file and open(passphrase_file, "rb").read().removesuffix(b"\n")
    require(keys.passphrase is None or 1 <= len(keys.passphrase) <= 1024, "a passphrase has 1 to 1024 bytes", "usage")
    return keys

def plaintext(chunk):  # all chunks in order; the last one is shorter
    for k in range(2**38 + 1):
        yield (part := chunk(k))
        if len(part) < 16384: return

def check_output(fd, path):  # only a file is replaced, and not the input
    try: there = os.lstat(path)
    except FileNotFoundError: return
    require(stat.S_ISREG(there.st_mode), f"{path} exists and is not a regular file", "usage")
    require(not os.path.samestat(there, os.fstat(fd)), f"{path} is the input", "usage")

def main():
    for number in (signal.SIGTERM, signal.SIGHUP):  # nothing stays behind; what nohup ignores stays ignored
        if signal.getsignal(number) == signal.SIG_DFL: signal.signal(number, lambda number, _: sys.exit(128 + number))
    parser = ArgumentParser(prog="reader", description="opens a waxseal v1 file")
    for name in ("--keyfile", "--identity", "--recipient", "--shared-secret", "--kms", "-c", "-l"): parser.add_argument(name, action="append", default=[])
    for name in ("--passphrase-file", "--data-key-file", "IN", "OUT"): parser.add_argument(name)
    given = vars(parser.parse_args())
    path_in, path_out = given.pop("IN"), given.pop("OUT")
    keys = prepare(**given)
    try: fd = os.open(path_in, os.O_RDONLY)
    except FileNotFoundError as error:  # 1.3: the folder was found, and it does not have the file
        folder, name = os.path.split(path_in)
        raise Fail("io", str(error), 10 if name and os.path.isdir(folder or ".") and not os.path.islink(path_in) else 7) from None
    if path_out != "-": check_output(fd, path_out)
    bank, warning = read_banks(fd)
    if warning: print("reader: warning:", warning, file=sys.stderr)
    chunks = plaintext(unlock(fd, bank, keys))
    if path_out == "-": return sys.stdout.buffer.writelines(chunks)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path_out) or ".", delete=False) as out:
        try: out.writelines(chunks); out.flush(); os.replace(out.name, path_out)
        except BaseException: os.unlink(out.name); raise

if __name__ == "__main__":
    try: main()
    except Fail as error: sys.exit(print(f"reader: {error.kind}: {error}", file=sys.stderr) or error.code)
    except OSError as error: sys.exit(print(f"reader: io: {error}", file=sys.stderr) or 7)
