"""The examples of the documents run, and a type checker accepts them."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Cloud
from support import PACKAGE, REPOSITORY, clean_environment

import pywaxseal as wax

DOCUMENTS = [PACKAGE / "README.md", REPOSITORY / "docs/python.md"]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def place(folder: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples expect: a folder with a key file and some data, a KMS with two aliases, and a bucket."""
    monkeypatch.chdir(folder)
    wax.KeyFile.generate().save("backup.key")
    Path("home.tar").write_bytes(b"all that is mine" * 1000)
    Path("rows.csv").write_text("name,number\none,1\n")
    client = cloud.client("kms")
    known = {found["AliasName"] for found in client.list_aliases(Limit=1000)["Aliases"]}
    for name in ("backups", "new"):
        if f"alias/{name}" not in known:
            cloud.alias(name, cloud.create_key())
    buckets = {found["Name"] for found in cloud.client("s3").list_buckets()["Buckets"]}
    if "bucket" not in buckets:
        cloud.client("s3").create_bucket(
            Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
    return folder


def names() -> dict[str, object]:
    return {"wax": wax, "shutil": shutil, "os": os}


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_the_examples_of_the_documents(place: Path, path: Path) -> None:
    text = path.read_text()
    # Markdown's fence is no output.
    text = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, names(), path.name, str(path), 0)
    assert len(test.examples) >= 8
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def modules() -> list[ModuleType]:
    found = [importlib.import_module("pywaxseal")]
    for one in pkgutil.iter_modules(wax.__path__, "pywaxseal."):
        if "fs" not in one.name.removeprefix("pywaxseal"):  # fsspec is optional; these have tests of their own
            found.append(importlib.import_module(one.name))
    return found


def test_the_examples_of_the_docstrings(place: Path) -> None:
    finder, run = doctest.DocTestFinder(exclude_empty=True), 0
    said: list[str] = []
    failures = 0
    for module in modules():
        tests = finder.find(module, module.__name__, module=False, extraglobs=names())
        for number, test in enumerate(tests):
            if not test.examples:
                continue
            scratch = place / f"{module.__name__}-{number}"
            scratch.mkdir()
            for name in ("backup.key", "home.tar", "rows.csv"):
                shutil.copy(place / name, scratch)
            os.chdir(scratch)
            runner = doctest.DocTestRunner(optionflags=FLAGS)
            runner.run(test, out=said.append)
            failures += runner.failures
            run += 1
    assert not failures, "".join(said)
    assert run >= 1, run


def test_everything_public_is_documented() -> None:
    for name in wax.__all__:
        one = getattr(wax, name)
        assert one.__doc__, name
        if isinstance(one, type):
            for inner, value in vars(one).items():
                if not inner.startswith("_") and (callable(value) or hasattr(value, "__get__")):
                    assert getattr(one, inner).__doc__, f"{name}.{inner}"
    text = (REPOSITORY / "docs/python.md").read_text()
    for name in wax.__all__:
        assert name in text, f"docs/python.md does not mention {name}"


def test_the_table_of_exceptions_is_true() -> None:
    """docs/python.md says the class, its code and its bases."""
    text = (REPOSITORY / "docs/python.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|([^|]*)\|", text, flags=re.MULTILINE)
    classes = {name for name in wax.__all__ if isinstance(getattr(wax, name), type)}
    errors = {name for name in classes if issubclass(getattr(wax, name), wax.Error)} - {"Error"}
    assert {name for name, _, _ in rows} == errors
    for name, code, bases in rows:
        kind = getattr(wax, name)
        assert kind.exit_code == int(code), name
        for base in re.findall(r"`(\w+)`", bases):
            found = getattr(wax, base, None) or getattr(__import__("builtins"), base)
            assert issubclass(kind, found), (name, base)


def test_a_type_checker_accepts_the_examples(tmp_path: Path) -> None:
    files = []
    for path in DOCUMENTS:
        test = doctest.DocTestParser().get_doctest(path.read_text(), {}, path.name, str(path), 0)
        made = tmp_path / f"{path.stem.lower()}_examples.py"
        made.write_text("import os, shutil\nimport pywaxseal as wax\n" + "".join(one.source for one in test.examples))
        files.append(str(made))
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n[mypy-boto3.*]\nignore_missing_imports = true\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path / "cache"), *files],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_type_checker_finds_mistakes(tmp_path: Path) -> None:
    """So that the stubs say something."""
    wrong = [
        "wax.open('x', 'rb', keys=3)",
        "wax.open('x', 'r+b', keys='file:k')",
        "wax.open('x', 'wb')",
        "wax.open('x', 'rb').discard()",
        "wax.open('x', 'wb', keys='file:k').peek()",
        "wax.encrypt_file('a', 'b')",
        "wax.inspect('x').slot",
        "wax.KeyFile('secret')",
        "wax.Passphrase(3)",
        "wax.rewrap(['x'], frm='alias/x')",
    ]
    good = ["wax.open('x').read()", "wax.open('x', 'wb', keys='file:k').discard()", "wax.open('x').size + 1"]
    path = tmp_path / "wrong.py"
    path.write_text("import pywaxseal as wax\n" + "\n".join(wrong + good) + "\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
        check=False,
    )
    found = {int(line) for line in re.findall(r"wrong\.py:(\d+): error", checked.stdout)}
    assert found == set(range(2, 2 + len(wrong))), checked.stdout
