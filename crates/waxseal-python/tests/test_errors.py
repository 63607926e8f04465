"""Every failure has a class by its cause, the exit code of the program, and text that says what to do."""

from __future__ import annotations

import io
import os
import pickle
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Sealed
from support import CHUNK, MIB, REPOSITORY, contents, names_in

import pywaxseal as wax

CODES: dict[type[wax.Error], tuple[int, tuple[type[BaseException], ...]]] = {
    wax.Bug: (1, ()),
    wax.UsageError: (2, (ValueError,)),
    wax.FormatError: (3, ()),
    wax.TamperedError: (4, ()),
    wax.NoKeyError: (5, ()),
    wax.UnavailableError: (6, (ConnectionError,)),
    wax.IoError: (7, (OSError,)),
    wax.UnmetError: (8, ()),
    wax.ExistsError: (8, (wax.UnmetError, FileExistsError)),
    wax.NotFoundError: (10, (FileNotFoundError,)),
}


def test_the_classes() -> None:
    for kind, (code, bases) in CODES.items():
        assert issubclass(kind, wax.Error) and kind.exit_code == code, kind
        assert all(issubclass(kind, base) for base in bases), kind
        assert kind.__doc__
    assert issubclass(wax.Error, Exception)
    # `except OSError` catches what `open` would raise, and nothing that is about keys or contents.
    assert not issubclass(wax.TamperedError, (OSError, ValueError)) and not issubclass(wax.NoKeyError, OSError)


@contextmanager
def fails(kind: type[wax.Error], *words: str, hint: bool | None = None) -> Iterator[None]:
    with pytest.raises(wax.Error) as caught:
        yield
    error = caught.value
    # Some are also a class of the system's errors, such as PermissionError.
    assert isinstance(error, kind), repr(error)
    assert error.exit_code == CODES[kind][0]
    text = str(error)
    assert text and not text.endswith(".") and "Error(" not in text and "0x" not in text, text
    assert error.hint is None or isinstance(error.hint, str)
    for word in words:
        assert word in f"{text} {error.hint}", f"{word!r} is not in {text!r}, {error.hint!r}"
    if hint is not None:
        assert bool(error.hint) == hint, error.hint


def every_way_to_open(path: Path, keys: object, target: Path, **demands: object) -> Iterator[object]:
    """Functions that read the whole of a sealed file."""

    def read() -> None:
        with wax.open(path, keys=keys, **demands) as file:  # type: ignore[call-overload]
            while file.read(MIB):
                pass

    def from_object() -> None:
        with wax.open(io.BytesIO(path.read_bytes()), keys=keys, **demands) as file:  # type: ignore[call-overload]
            file.read()

    def ranges() -> None:
        whole = path.read_bytes()
        opened = wax.Ranges(len(whole), lambda start, end: whole[start:end], keys=keys, **demands)  # type: ignore[arg-type]
        opened.read_range(0, opened.size)

    yield read
    yield from_object
    yield ranges
    yield lambda: wax.verify(path, keys=keys, **demands)  # type: ignore[arg-type]
    yield lambda: wax.decrypt_file(path, target, keys=keys, **demands)  # type: ignore[arg-type]


def all_fail(path: Path, keys: object, kind: type[wax.Error], *words: str, **demands: object) -> None:
    target = path.with_name("target")
    for way in every_way_to_open(path, keys, target, **demands):
        with fails(kind, *words):
            way()  # type: ignore[operator]
    assert not target.exists()


def test_a_wrong_key(sealed: Sealed, other_key: str, folder: Path) -> None:
    path = folder / "x.wax"
    path.write_bytes(sealed.path.read_bytes())
    all_fail(path, other_key, wax.NoKeyError)


@pytest.mark.parametrize("lost", [1, 15, 16, CHUNK, CHUNK + 16, 3 * MIB])
def test_a_cut_file(sealed: Sealed, folder: Path, lost: int) -> None:
    path = folder / "x.wax"
    path.write_bytes(sealed.path.read_bytes()[:-lost])
    all_fail(path, sealed.key, wax.TamperedError)


@pytest.mark.parametrize("place", [-1, -100, -MIB, -5 * MIB])
def test_an_altered_byte(sealed: Sealed, folder: Path, place: int) -> None:
    path = folder / "x.wax"
    whole = bytearray(sealed.path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)
    all_fail(path, sealed.key, wax.TamperedError)


def test_swapped_chunks(sealed: Sealed, folder: Path) -> None:
    path = folder / "x.wax"
    whole = bytearray(sealed.path.read_bytes())
    step, start = CHUNK + 16, len(whole) - 5 * MIB
    whole[start : start + 2 * step] = whole[start + step : start + 2 * step] + whole[start : start + step]
    path.write_bytes(whole)
    all_fail(path, sealed.key, wax.TamperedError)


def test_a_doubled_and_a_missing_chunk(sealed: Sealed, folder: Path) -> None:
    whole, step = sealed.path.read_bytes(), CHUNK + 16
    header = wax.inspect(sealed.path).header_size
    first = header + 56
    for altered in (whole[: first + step] + whole[first:], whole[:first] + whole[first + step :]):
        path = folder / "x.wax"
        path.write_bytes(altered)
        all_fail(path, sealed.key, wax.TamperedError)


def test_an_altered_byte_gives_no_byte_of_its_chunk(sealed: Sealed, folder: Path) -> None:
    """What comes out before the failure is the true content."""
    whole = bytearray(sealed.path.read_bytes())
    whole[-3 * MIB] ^= 1
    (folder / "x.wax").write_bytes(whole)
    got = b""
    with pytest.raises(wax.TamperedError), wax.open(folder / "x.wax", keys=sealed.key) as file:
        while part := file.read(1000):
            got += part
    assert sealed.content.startswith(got)
    with wax.open(folder / "x.wax", keys=sealed.key) as file:
        buffer = bytearray(b"\xaa" * (6 * MIB))
        with pytest.raises(wax.TamperedError):
            while file.raw.readinto(buffer):
                pass
        # The chunk that was altered, as it was: its plaintext may not be there, even though most of it is "right".
        chunk = (len(whole) - 3 * MIB - wax.inspect(sealed.path).header_size - 56) // (CHUNK + 16)
        assert sealed.content[chunk * CHUNK : chunk * CHUNK + 100] not in buffer


def test_a_file_that_is_not_sealed(folder: Path, key: str) -> None:
    path = folder / "x"
    for content in (b"", b"short", b"plain text " * 100_000):
        path.write_bytes(content)
        all_fail(path, key, wax.FormatError)
        with fails(wax.FormatError):
            wax.inspect(path)


def test_a_missing_file_and_a_missing_folder(folder: Path, key: str) -> None:
    for call in (
        lambda path: wax.open(path, keys=key),
        lambda path: wax.verify(path, keys=key),
        lambda path: wax.inspect(path),
        lambda path: wax.decrypt_file(path, folder / "out", keys=key),
        lambda path: wax.encrypt_file(path, folder / "out", keys=key),
    ):
        with fails(wax.NotFoundError, "missing.wax"):
            call(folder / "missing.wax")
        with fails(wax.IoError, "missing.wax"):
            call(folder / "no-folder" / "missing.wax")
        with pytest.raises(OSError) as caught:
            call(folder / "missing.wax")
        assert caught.value.errno == 2 and isinstance(caught.value, FileNotFoundError)
    assert names_in(folder) == set()


def test_a_folder_is_no_file(folder: Path, key: str) -> None:
    for call in (lambda: wax.open(folder, keys=key), lambda: wax.open(folder, "wb", keys=key)):
        with pytest.raises(wax.Error) as caught:
            call()
        assert caught.value.exit_code in (2, 7, 8)


def test_a_demand_that_is_not_met(folder: Path, key: str) -> None:
    path = folder / "x.wax"
    with wax.open(path, "wb", keys=key, context={"env": "prod"}, labels={"name": "x"}) as file:
        file.write(b"content")
    with wax.open(path, keys=key, context={"env": "prod"}, labels={"name": "x"}) as file:
        assert file.read() == b"content"
    all_fail(path, key, wax.UnmetError, "env", context={"env": "test"})
    all_fail(path, key, wax.UnmetError, "name", labels={"name": "y"})
    all_fail(path, key, wax.UnmetError, "host", labels={"name": "x", "host": "db1"})
    assert not issubclass(wax.UnmetError, FileExistsError)


def test_wrong_arguments(folder: Path, key: str) -> None:
    for keys in ([], "file:", "no-such-kind", ["file:" + str(folder / "missing.key"), "what?"]):
        with pytest.raises(wax.Error) as caught:
            wax.open(folder / "x", "wb", keys=keys)
        assert caught.value.exit_code in (2, 7), keys
    for bad in ({"": "x"}, {"x": ""}, {"aws:x": "y"}, {"waxseal:x": "y"}, {"a": "b", "A": "c"}, {"x": "y\n"}):
        with fails(wax.UsageError):
            wax.open(folder / "x", "wb", keys=key, context=bad)
        with fails(wax.UsageError):
            wax.open(folder / "x", "wb", keys=key, labels=bad)
    with pytest.raises(TypeError):
        wax.open(folder / "x", "wb", keys=key, labels={"x": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        wax.open(folder / "x", "wb", keys=[1])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        wax.open(3.5, keys=key)  # type: ignore[call-overload]
    with pytest.raises((TypeError, wax.UsageError)):
        wax.open(folder / "x", "wb")
    assert names_in(folder) == set()


def test_a_missing_key_file_is_not_a_missing_input(sealed: Sealed, folder: Path) -> None:
    with fails(wax.IoError, "missing.key"):
        wax.open(sealed.path, keys=f"file:{folder}/missing.key")


def test_ranges_outside_the_file(sealed: Sealed) -> None:
    """As with a slice, what is after the end is left out. A negative place is no place."""
    whole = sealed.path.read_bytes()
    ranges = wax.Ranges(len(whole), lambda start, end: whole[start:end], keys=sealed.key)
    size = ranges.size
    assert ranges.read_range(size - 5, size + 100) == sealed.content[-5:]
    for start, end in [(5, 4), (size, size), (size + 1, size + 2), (size + 5, size + 1), (2**63, 2**64 - 1)]:
        assert ranges.read_range(start, end) == b""
    for start, end in [(-1, 5), (0, -1), (0, 2**70)]:
        with pytest.raises((ValueError, OverflowError)):
            ranges.read_range(start, end)


def test_a_store_that_lies_about_ranges(sealed: Sealed) -> None:
    """Too few bytes, too many, other ones, nothing, or no bytes at all: an error, and never a wrong byte."""
    whole = sealed.path.read_bytes()

    def ranges(answer: object) -> None:
        opened = wax.Ranges(len(whole), answer, keys=sealed.key)  # type: ignore[arg-type]
        opened.read_range(MIB, 2 * MIB)

    with pytest.raises(wax.Error):
        ranges(lambda start, end: whole[start : end - 1])
    with pytest.raises(wax.Error):
        ranges(lambda start, end: whole[start:end] + b"x")
    with pytest.raises(wax.Error):
        ranges(lambda start, end: b"")
    with pytest.raises(wax.Error):
        ranges(lambda start, end: whole[: end - start])
    with pytest.raises(TypeError):
        ranges(lambda start, end: None)
    with pytest.raises(ZeroDivisionError):
        ranges(lambda start, end: 1 // 0)
    for size in (len(whole) - 1, len(whole) + 1, len(whole) + CHUNK + 16, 10):
        with pytest.raises(wax.Error):
            wax.Ranges(size, lambda start, end: whole[start:end], keys=sealed.key)


def test_errors_travel_between_processes() -> None:
    """multiprocessing and every cluster send exceptions by pickle."""
    for way in ("missing", "unmet"):
        try:
            wax.inspect(f"/{way}/x") if way == "missing" else wax.UnmetError
        except wax.Error as error:
            back = pickle.loads(pickle.dumps(error))
            assert type(back) is type(error)
            assert str(back) == str(error) and back.hint == error.hint and back.exit_code == error.exit_code
    for kind in CODES:
        made = kind("what happened")
        back = pickle.loads(pickle.dumps(made))
        assert type(back) is kind and str(back) == str(made) and back.exit_code == kind.exit_code


# --- the public test kit ----------------------------------------------------------------------------------------------

KIT = REPOSITORY / "tests/testkit"
VECTORS = 887
# What the package has no way to give: keys of a service that is not there.
SERVICES = ("shared-secret", "private-key", "data-key")


class Vector:
    def __init__(self, path: Path) -> None:
        head, body = path.read_bytes().split(b"\n\n", 1)
        self.lines = [tuple(line.split(": ", 1)) for line in head.decode().split("\n")]
        self.body = zlib.decompress(body) if self.all("compressed") else body

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.lines if known == name]

    def one(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def keys(self, folder: Path) -> list[object]:
        keys: list[object] = []
        files = [(line + "\n").encode() for line in self.all("keyfile") + self.all("identity")]
        files += [bytes.fromhex(line) for line in self.all("keyfile-hex") + self.all("identity-hex")]
        for number, content in enumerate(files):
            path = folder / f"{number}.key"
            path.write_bytes(content)
            path.chmod(0o600)
            keys.append(f"file:{path}")
        keys += [wax.Passphrase(phrase) for phrase in self.all("passphrase")]
        keys += [wax.Passphrase(bytes.fromhex(phrase)) for phrase in self.all("passphrase-hex")]
        return keys

    def demands(self) -> dict[str, dict[str, str]]:
        parts = {"context": self.all("pair"), "labels": self.all("label")}
        return {name: dict(one.split("=", 1) for one in found) for name, found in parts.items() if found}  # type: ignore[misc]


def outcome(vector: Vector, folder: Path, other_key: str) -> int:
    """The exit code, after the content was compared."""
    import hashlib

    got = hashlib.sha256()
    length = 0
    try:
        recipients = vector.all("recipient-hex")
        for line in recipients:
            (folder / "a.pub").write_bytes(bytes.fromhex(line))
            wax.Recipient.load(folder / "a.pub")
        keys = vector.keys(folder) or [other_key]
        if recipients and vector.one("plaintext-bytes") is None and vector.one("exit") == "0":
            return 0  # only about the recipient file
        with wax.open(folder / "x.wax", keys=keys, **vector.demands()) as file:  # type: ignore[arg-type]
            while part := file.read(5000):
                got.update(part)
                length += len(part)
    except wax.Error as error:
        return error.exit_code
    assert vector.one("plaintext-bytes") == str(length) and vector.one("plaintext-sha256") == got.hexdigest()
    return 0


def test_the_public_test_kit(folder: Path, other_key: str) -> None:
    paths = sorted(path for path in KIT.iterdir() if "." not in path.name)
    assert len(paths) == VECTORS
    run, wrong = 0, []
    for path in paths:
        vector = Vector(path)
        if any(vector.all(name) for name in SERVICES):
            continue
        # Two demands of one name cannot be said in a dict.
        for kind in ("pair", "label"):
            names = [one.split("=", 1)[0] for one in vector.all(kind)]
            if len(set(names)) < len(names):
                break
        else:
            (folder / "x.wax").write_bytes(vector.body)
            code = outcome(vector, folder, other_key)
            allowed = {vector.one("exit")}
            if sized := vector.one("expect-sized"):
                allowed.add({"truncated": "4", "payload": "4", "header": "3", "commitment": "4"}[sized])
            if str(code) not in allowed:
                wrong.append(f"{path.name}: {code}, not {allowed}: {vector.one('comment')}")
            run += 1
    assert not wrong, "\n".join(wrong)
    assert run > 600, run
    assert os.listdir(folder)
