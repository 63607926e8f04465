"""The wheel installs into a fresh environment without anything else, and the first lines that anybody types work."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import Cloud
from support import clean_environment, skipped

# The example of the README. The names of files and keys are those that a user would have.
LINES = """
import pywaxseal as wax, shutil
with wax.open("x.wax", "rb", keys=["file:backup.key"]) as f: f.seek(10); assert f.read(100) == bytes(range(10, 110))
with open("src", "rb") as src:
    with wax.open("y.wax", "wb", keys=["alias/backups"], context={"env": "prod"}) as f: shutil.copyfileobj(src, f)
wax.encrypt_file("in", "out.wax", keys=["file:backup.key", "alias/backups"])
wax.decrypt_file("out.wax", "again", keys=["file:backup.key"])
wax.verify("y.wax")
print([slot.kind for slot in wax.inspect("out.wax").slots])
print([result.changed for result in wax.rewrap(["y.wax", "out.wax"], to="alias/new")])
"""


def wheel() -> Path:
    given = os.environ.get("WAXSEAL_WHEEL")
    if not given:
        skipped("the wheel in a fresh environment", "WAXSEAL_WHEEL is not set; crates/waxseal-python/test sets it")
        pytest.skip("WAXSEAL_WHEEL is not set")
    return Path(given)


def test_the_first_lines_in_a_fresh_environment(tmp_path: Path, cloud: Cloud) -> None:
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    # Without an index: the package needs nothing else.
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", wheel()]
    subprocess.run(install, check=True)
    work = tmp_path / "work"
    work.mkdir()
    keys = {name: cloud.alias(name, cloud.create_key()) for name in ("backups-of-lines", "new-of-lines")}
    lines = LINES.replace("alias/backups", keys["backups-of-lines"]).replace("alias/new", keys["new-of-lines"])
    first = (
        "import pywaxseal as wax\n"
        "wax.KeyFile.generate().save('backup.key')\n"
        "with wax.open('x.wax', 'wb', keys='file:backup.key') as f: f.write(bytes(range(200)))\n"
        "open('src', 'wb').write(b'source'); open('in', 'wb').write(b'input')\n"
    )
    done = subprocess.run(
        [python, "-c", first + lines],
        cwd=work,
        env=clean_environment(cloud.environment()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['keyfile', 'aws-kms']\n[True, True]\n"
    assert (work / "again").read_bytes() == b"input"


def test_what_the_wheel_has() -> None:
    path = wheel()
    # One wheel for CPython 3.11 and all later versions.
    assert "-cp311-abi3-" in path.name
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert {"pywaxseal/py.typed", "pywaxseal/_native.pyi", "pywaxseal/__init__.py"} <= set(names)
    assert not any("test" in name or "/bench" in name for name in names)
    assert "Requires-Python: >=3.11" in metadata
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert needed == []
    # The README is what PyPI shows.
    assert "# pywaxseal" in metadata
