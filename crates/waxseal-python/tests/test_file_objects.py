"""A file that `open` gives is a real Python file: the standard library takes it, and its edges are those of `open`."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import Sealed
from support import CHUNK, MIB, contents, plaintext_of

import pywaxseal as wax


def seal(path: Path, key: str, content: bytes) -> Path:
    with wax.open(path, "wb", keys=key) as file:
        file.write(content)
    return path


def test_the_types_are_those_of_io(sealed: Sealed, folder: Path) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file:
        assert isinstance(file, io.BufferedReader)
        assert isinstance(file.raw, io.RawIOBase)
        assert file.readable() and file.seekable() and not file.writable()
        assert file.mode == "rb"
        assert file.name == str(sealed.path)
        assert file.size == len(sealed.content)
        assert not file.isatty()
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
    with wax.open(folder / "x", "wb", keys=sealed.key) as out:
        assert isinstance(out, io.BufferedIOBase)
        assert isinstance(out, wax.SealedWriter)
        assert out.writable() and not out.readable() and not out.seekable()
        assert out.mode == "wb"
        assert out.name == str(folder / "x")
        with pytest.raises(io.UnsupportedOperation):
            out.read()
        with pytest.raises(io.UnsupportedOperation):
            out.seek(0)


def test_there_is_no_descriptor_to_get_around_the_checks(sealed: Sealed, folder: Path) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file, pytest.raises(io.UnsupportedOperation):
        file.fileno()
    with wax.open(folder / "x", "wb", keys=sealed.key) as out, pytest.raises(io.UnsupportedOperation):
        out.fileno()


def test_readinto_read1_and_peek(sealed: Sealed) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file:
        buffer = bytearray(100)
        assert file.readinto(buffer) == 100
        assert buffer == sealed.content[:100]
        assert file.peek(1)[:10] == sealed.content[100:110]
        assert file.tell() == 100, "peek does not move"
        some = file.read1(50)
        assert 0 < len(some) <= 50
        assert some == sealed.content[100 : 100 + len(some)]
        view = memoryview(bytearray(3 * MIB))
        done = file.readinto(view)
        assert view[:done] == sealed.content[100 + len(some) :][:done]
        large = memoryview(bytearray(8 * MIB))
        file.seek(0)
        assert file.readinto(large) == len(sealed.content)


def test_the_raw_file_reads_into_any_buffer(sealed: Sealed) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file:
        raw = file.raw
        assert raw.read(10) == sealed.content[:10]
        raw.seek(-5, io.SEEK_END)
        assert raw.read(10) == sealed.content[-5:]
        assert raw.read(10) == b""
        assert raw.readinto(bytearray(0)) == 0
        raw.seek(0)
        assert raw.readall() == sealed.content
        raw.seek(0)
        with pytest.raises((TypeError, BufferError, ValueError)):
            raw.readinto(memoryview(b"read-only"))
        assert raw.readinto(memoryview(bytearray(40)).cast("i")) == 40


def test_seeks(sealed: Sealed) -> None:
    size = len(sealed.content)
    with wax.open(sealed.path, keys=sealed.key) as file:
        assert file.seek(-3, io.SEEK_END) == size - 3
        assert file.read() == sealed.content[-3:]
        assert file.seek(-10, io.SEEK_CUR) == size - 10
        assert file.read(4) == sealed.content[-10:-6]
        assert file.seek(size + 1000) == size + 1000
        assert file.read(1) == b""
        assert file.read() == b""
        assert file.tell() == size + 1000
        for offset, whence in [(-1, io.SEEK_SET), (-size - 1, io.SEEK_END)]:
            with pytest.raises((ValueError, OSError)):
                file.seek(offset, whence)
        with pytest.raises(ValueError):
            file.seek(0, 9)
        file.seek(5)
        assert file.read(1) == sealed.content[5:6]
        assert file.seek(2**62) == 2**62
        assert file.read(1) == b""


def test_a_closed_file_says_so(sealed: Sealed, folder: Path) -> None:
    file = wax.open(sealed.path, keys=sealed.key)
    raw = file.raw
    file.close()
    file.close()
    assert file.closed and raw.closed
    for call in (file.read, lambda: file.seek(0), file.tell, file.peek, lambda: file.readinto(bytearray(1))):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(ValueError):
        raw.readinto(bytearray(1))
    out = wax.open(folder / "x.wax", "wb", keys=sealed.key)
    out.close()
    out.close()
    assert out.closed
    for call in (lambda: out.write(b"x"), out.flush, out.__enter__):
        with pytest.raises(ValueError):
            call()
    assert plaintext_of(folder / "x.wax", sealed.key) == b""


def test_a_wrong_mode_is_an_error_and_makes_nothing(folder: Path, key: str) -> None:
    for mode in ["rt", "wt", "a", "ab", "r+b", "wb+", "", "rbx", "xwb", "b"]:
        with pytest.raises(ValueError):
            wax.open(folder / "x", mode, keys=key)  # type: ignore[call-overload]
    assert list(folder.iterdir()) == []


def test_zipfile(folder: Path, key: str) -> None:
    with wax.open(folder / "a.zip", "wb", keys=key) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", contents(100_000))
        archive.writestr("two", b"second")
    with wax.open(folder / "a.zip", keys=key) as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["one", "two"]
        assert archive.read("two") == b"second"
        assert archive.read("one") == contents(100_000)
        assert archive.testzip() is None


def test_tarfile(folder: Path, key: str) -> None:
    def member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    for mode in ("w|", "w|gz"):
        path = folder / "a.tar"
        with wax.open(path, "wb", keys=key) as out, tarfile.open(fileobj=out, mode=mode) as archive:
            member(archive, "one", contents(100_000))
            member(archive, "two", b"second")
        with wax.open(path, keys=key) as file, tarfile.open(fileobj=file) as archive:
            assert archive.getnames() == ["one", "two"]
            found = archive.extractfile("two")
            assert found is not None and found.read() == b"second"
            found = archive.extractfile("one")
            assert found is not None and found.read() == contents(100_000)


def test_gzip_csv_and_text(folder: Path, key: str) -> None:
    rows = [[str(number), f"ä{number}"] for number in range(5000)]
    with (
        wax.open(folder / "a.csv.gz", "wb", keys=key) as out,
        gzip.open(out, "wt", encoding="utf-8", newline="") as text,
    ):
        csv.writer(text).writerows(rows)
    with (
        wax.open(folder / "a.csv.gz", keys=key) as file,
        gzip.open(file, "rt", encoding="utf-8", newline="") as text,
    ):
        assert list(csv.reader(text)) == rows


def test_a_text_wrapper_commits_when_it_is_closed(folder: Path, key: str) -> None:
    with io.TextIOWrapper(wax.open(folder / "a.txt", "wb", keys=key), encoding="utf-8", newline="\n") as text:
        text.write("first\nsecond ä\n")
    assert plaintext_of(folder / "a.txt", key) == "first\nsecond ä\n".encode()
    with io.TextIOWrapper(wax.open(folder / "a.txt", keys=key), encoding="utf-8") as text:
        assert list(text) == ["first\n", "second ä\n"]
        text.seek(0)
        assert text.readline() == "first\n"


def test_lines(folder: Path, key: str) -> None:
    content = b"".join(b"line %d\n" % number for number in range(10_000))
    path = seal(folder / "a", key, content)
    with wax.open(path, keys=key) as file:
        assert list(file) == content.splitlines(keepends=True)


def test_copyfileobj_and_pickle(folder: Path, key: str) -> None:
    content = contents(3 * MIB + 1)
    with wax.open(folder / "a", "wb", keys=key) as out:
        shutil.copyfileobj(io.BytesIO(content), out)
    back = io.BytesIO()
    with wax.open(folder / "a", keys=key) as file:
        shutil.copyfileobj(file, back)
    assert back.getvalue() == content
    value = {"numbers": list(range(1000)), "bytes": contents(CHUNK)}
    with wax.open(folder / "p", "wb", keys=key) as out:
        pickle.dump(value, out)
    with wax.open(folder / "p", keys=key) as file:
        assert pickle.load(file) == value


def test_writelines_and_tell(folder: Path, key: str) -> None:
    with wax.open(folder / "a", "wb", keys=key) as out:
        out.writelines([b"one", b"two", bytearray(b"three")])
        assert out.tell() == 11
        out.flush()
        assert out.tell() == 11
    assert plaintext_of(folder / "a", key) == b"onetwothree"


def test_a_buffered_reader_of_the_callers_own_size(sealed: Sealed) -> None:
    raw = wax.open(sealed.path, keys=sealed.key).detach()
    with io.BufferedReader(raw, 10) as own:
        assert own.read(25) == sealed.content[:25]
    assert raw.closed


def test_what_cannot_be_carried_to_another_process_says_so(sealed: Sealed, folder: Path) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file, pytest.raises(TypeError):
        pickle.dumps(file)
    out = wax.open(folder / "x", "wb", keys=sealed.key)
    with pytest.raises(TypeError):
        pickle.dumps(out)
    out.discard()
    assert list(folder.iterdir()) == []
