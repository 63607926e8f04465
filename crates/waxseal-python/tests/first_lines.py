"""The first lines that anybody types, with local keys: for an environment in which nothing but the package is installed."""

import importlib.util
import shutil

import pywaxseal as wax

assert importlib.util.find_spec("pytest") is None, "the environment is not fresh"

wax.KeyFile.generate().save("backup.key")
wax.KeyFile.generate().save("new.key")
with open("src", "wb") as made:
    made.write(bytes(range(256)) * 10_000)
KEYS = ["file:backup.key"]

with open("src", "rb") as src, wax.open("y.wax", "wb", keys=KEYS, context={"env": "prod"}) as f:
    shutil.copyfileobj(src, f)
with wax.open("y.wax", "rb", keys=KEYS, context={"env": "prod"}) as f:
    f.seek(10)
    assert f.read(100) == bytes(range(10, 110))
wax.encrypt_file("src", "out.wax", keys=KEYS)
wax.decrypt_file("out.wax", "again", keys=KEYS)
with open("src", "rb") as one, open("again", "rb") as two:
    assert one.read() == two.read()
assert wax.verify("y.wax", keys=KEYS).plaintext_size == 2_560_000
assert [slot.kind for slot in wax.inspect("out.wax").slots] == ["keyfile"]
assert [result.changed for result in wax.rewrap(["y.wax", "out.wax"], to="file:new.key", keys=KEYS)] == [True, True]
try:
    wax.verify("y.wax", keys=KEYS)
    raise AssertionError("the old key still opens it")
except wax.NoKeyError:
    print("the first lines work")
