"""No key, passphrase or content is in any exception, repr, warning or traceback, not even in one with local variables."""

from __future__ import annotations

import base64
from pathlib import Path

from conftest import Cloud
from support import run

FAILURES = r"""
import warnings, pickle
warnings.simplefilter('always')
folder, url = sys.argv[1:]
key_path, other_path, phrase_path = (f'{folder}/{name}' for name in ('a.key', 'b.key', 'phrase'))
key = wax.KeyFile.load(key_path)
other = wax.KeyFile.load(other_path)
identity = wax.Identity.load(f'{folder}/a.identity')
phrase = wax.Passphrase(lambda: open(phrase_path).read())
wrong = wax.Passphrase(lambda: open(phrase_path).read()[::-1])
everything = [key, identity, phrase]
sealed = f'{folder}/x.wax'
plain = contents(100_000, 'plain')
with wax.open(sealed, 'wb', keys=everything) as file: file.write(plain)
altered = f'{folder}/altered.wax'
whole = bytearray(open(sealed, 'rb').read())
whole[-5] ^= 1
open(altered, 'wb').write(whole)
cut = f'{folder}/cut.wax'
open(cut, 'wb').write(whole[:-100])
header = f'{folder}/header.wax'
broken = bytearray(whole); broken[100:8000] = bytes(7900); open(header, 'wb').write(broken)
# A key file with one wrong digit, whose text must not come out either.
bad = f'{folder}/bad.key'
open(bad, 'w').write(open(key_path).read().replace('waxseal-key-v1:', 'waxseal-key-v1:0'))
kms = wax.Kms(endpoint_url=url, region='eu-west-1')
deaf = wax.Kms(endpoint_url='http://127.0.0.1:9', region='eu-west-1', timeout=1)

# The number of the attempt with the text of a key as its name.
OWN_TEXT = 16
def attempts():
    yield lambda: wax.open(sealed, keys=other)
    yield lambda: wax.open(sealed, keys=wrong)
    yield lambda: wax.open(altered, keys=key).read()
    yield lambda: wax.open(cut, keys=identity).read()
    yield lambda: wax.open(header, keys=phrase).read()
    yield lambda: wax.verify(altered, keys=everything)
    yield lambda: wax.decrypt_file(altered, f'{folder}/out', keys=everything)
    yield lambda: wax.open(sealed, keys=key, labels={'x': 'y'})
    yield lambda: wax.open(sealed, 'xb', keys=everything)
    yield lambda: wax.open(f'{folder}/no/x', 'wb', keys=everything)
    yield lambda: wax.KeyFile.load(bad)
    yield lambda: wax.open(sealed, keys='file:' + bad)
    yield lambda: wax.Identity.load(key_path)
    yield lambda: wax.Recipient.load(f'{folder}/a.identity')
    yield lambda: wax.open(sealed, 'wb', keys='alias/missing', kms=kms)
    yield lambda: wax.open(sealed, 'wb', keys=[key, 'alias/missing'], kms=deaf)
    yield lambda: wax.open(sealed, 'wb', keys=open(key_path).read().split('\n')[-2])
    yield lambda: pickle.dumps(everything)
    yield lambda: wax.Sealer(keys=everything).push('text')
    yield lambda: wax.open(sealed, keys=everything).write(b'x')

for number, attempt in enumerate(attempts()):
    try:
        attempt()
    except Exception as error:
        print(number, type(error).__name__)
        for shown in (error, error.__cause__, error.__context__):
            print(repr(shown), str(shown), getattr(shown, 'args', None), getattr(shown, 'hint', None), vars(shown) if hasattr(shown, '__dict__') else '')
        # The caller's own text is a local variable of the caller.
        own_text = number == OWN_TEXT
        print(*traceback.TracebackException.from_exception(error, capture_locals=not own_text).format())
    else:
        print('no failure in', number); sys.exit(5)
print(everything, [repr(one) for one in everything], dir(key), kms, wax.inspect(sealed))
file = wax.open(sealed, keys=everything)
print(repr(file), repr(file.raw), repr(wax.open(f'{folder}/y', 'wb', keys=everything)))
faulthandler = __import__('faulthandler'); faulthandler.dump_traceback()
raise RuntimeError('the end', everything)
"""


def forms(secret: bytes) -> list[bytes]:
    """Every form in which a secret could be printed."""
    parts = [secret[at : at + 12] for at in range(0, len(secret) - 11, 4)] or [secret]
    found: list[bytes] = []
    for part in parts:
        found += [part, part.hex().encode(), part.hex().upper().encode(), repr(part)[2:-1].encode()]
        found += [b", ".join(b"%d" % byte for byte in part), base64.b64encode(part)[:-4], part.hex(" ").encode()]
    return [one for one in found if len(one) >= 8]


def test_nothing_secret_is_ever_shown(folder: Path, moto: Cloud) -> None:
    import pywaxseal as wax

    wax.KeyFile.generate().save(folder / "a.key")
    wax.KeyFile.generate().save(folder / "b.key")
    wax.Identity.generate().save(folder / "a.identity")
    (folder / "phrase").write_text("Tr0ub4dor-and-3-horses")
    secrets = [b"Tr0ub4dor-and-3-horses", b"Tr0ub4dor-and-3-horses"[::-1]]
    for name in ("a.key", "b.key", "a.identity"):
        line = (folder / name).read_text().strip().split("\n")[-1]
        digits = next(part for part in line.split(":") if len(part) == 64)
        secrets += [bytes.fromhex(digits), digits.encode()]
    env = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-caller", "RUST_BACKTRACE": "1"}
    secrets.append(b"s3cr3t-of-the-caller")
    done = run(FAILURES, str(folder), moto.url, env=env)
    said = (done.stdout + done.stderr).encode()
    assert done.returncode == 1 and b"the end" in said and b"no failure in" not in said, said.decode()
    assert said.count(b"Traceback") >= 20
    for secret in secrets:
        for form in forms(secret):
            assert form not in said, form
    # The test itself can see a secret in such an output.
    assert any(form in said + repr(secrets[2]).encode() for form in forms(secrets[2]))


def test_the_content_is_in_no_error(folder: Path, key: str) -> None:
    import pywaxseal as wax

    content = b"The content is nobody's business. " * 10_000
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        file.write(content)
    whole = bytearray((folder / "x.wax").read_bytes())
    whole[-1] ^= 1
    (folder / "x.wax").write_bytes(whole)
    try:
        wax.open(folder / "x.wax", keys=key).read()
    except wax.Error as error:
        assert "business" not in f"{error!r} {error.hint} {error.args}"
    else:
        raise AssertionError("an altered file was read")
