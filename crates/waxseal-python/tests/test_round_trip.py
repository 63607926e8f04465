"""What is sealed comes back, through every way in and out, and the independent reader agrees."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import CHUNK, MIB, REPOSITORY, SIZES, contents, is_valid, plaintext_of, skipped

import pywaxseal as wax


@pytest.mark.parametrize("size", SIZES)
def test_open_writes_what_the_specifications_reader_reads(folder: Path, key: str, size: int) -> None:
    content = contents(size)
    with wax.open(folder / "x.wax", "wb", keys=[key]) as file:
        assert file.write(content) == size
    assert plaintext_of(folder / "x.wax", key) == content


@pytest.mark.parametrize("size", SIZES)
def test_open_reads_what_was_written(folder: Path, key: str, size: int) -> None:
    content = contents(size)
    (folder / "x").write_bytes(content)
    wax.encrypt_file(folder / "x", folder / "x.wax", keys=key)
    with wax.open(folder / "x.wax", keys=key) as file:
        assert file.read() == content
        assert file.read() == b""
        assert file.seek(0, io.SEEK_END) == size
    wax.decrypt_file(folder / "x.wax", folder / "y", keys=key)
    assert (folder / "y").read_bytes() == content


@pytest.mark.parametrize("size", SIZES)
def test_a_sealer_gives_a_complete_file(folder: Path, key: str, size: int) -> None:
    content = contents(size)
    sealer = wax.Sealer(keys=[key])
    parts = [sealer.push(content[at : at + 100_003]) for at in range(0, size, 100_003)]
    parts.append(sealer.finish())
    (folder / "x.wax").write_bytes(b"".join(parts))
    assert plaintext_of(folder / "x.wax", key) == content


@pytest.mark.parametrize("size", SIZES)
def test_ranges_open_what_is_asked_for_and_fetch_little(folder: Path, key: str, size: int) -> None:
    content = contents(size)
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        file.write(content)
    sealed = (folder / "x.wax").read_bytes()
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        fetched.append((start, end))
        return sealed[start:end]

    ranges = wax.Ranges(len(sealed), fetch, keys=key)
    assert ranges.size == size
    for start, end in [(0, 0), (0, min(1, size)), (size // 2, size), (max(size - 1, 0), size), (0, size)]:
        fetched.clear()
        assert ranges.read_range(start, end) == content[start:end]
        # At most one chunk on each side is fetched that was not asked for.
        assert sum(end - start for start, end in fetched) <= (end - start) * 1.002 + 2 * (CHUNK + 16)
        if start < end:
            place = ranges.sealed_range(start, end)
            assert ranges.open_range(start, end, sealed[place[0] : place[1]]) == content[start:end]


def test_many_small_writes_are_one_file(folder: Path, key: str) -> None:
    content = contents(3 * CHUNK + 5)
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        for byte in range(0, len(content), 7):
            file.write(content[byte : byte + 7])
    assert plaintext_of(folder / "x.wax", key) == content


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "array", "memoryview of ints", "read-only view"])
def test_every_buffer_can_be_written(folder: Path, key: str, kind: object) -> None:
    import array

    content = contents(4 * 1000)
    given: object
    match kind:
        case "array":
            given = array.array("i", content)
        case "memoryview of ints":
            given = memoryview(content).cast("i")
        case "read-only view":
            given = memoryview(content).toreadonly()
        case _:
            given = kind(content)  # type: ignore[operator]
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        assert file.write(given) == len(content)  # type: ignore[arg-type]
    assert plaintext_of(folder / "x.wax", key) == content


def test_what_is_no_buffer_is_refused_and_the_file_goes_on(folder: Path, key: str) -> None:
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        with pytest.raises(TypeError):
            file.write("text")  # type: ignore[arg-type]
        file.write(b"bytes")
    assert plaintext_of(folder / "x.wax", key) == b"bytes"


def test_a_file_object_is_a_source_and_a_target(key: str) -> None:
    target = io.BytesIO()
    content = contents(2 * MIB + 3)
    with wax.open(target, "wb", keys=key) as file:
        file.write(content)
    assert not target.closed, "the target belongs to its owner, as with gzip"
    source = io.BytesIO(target.getvalue())
    with wax.open(source, "rb", keys=key) as file:
        file.seek(MIB)
        assert file.read(10) == content[MIB : MIB + 10]
        file.seek(0)
        assert file.read() == content
    assert not source.closed


class OnlyForward(io.RawIOBase):
    """A source that cannot seek, such as a socket."""

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        # Sockets give less than what was asked for.
        return self._inner.readinto(view[: max(1, len(view) // 3)])


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * MIB + 3])
def test_a_source_that_cannot_seek_is_read_in_order(key: str, size: int) -> None:
    target = io.BytesIO()
    with wax.open(target, "wb", keys=key) as file:
        file.write(contents(size))
    with wax.open(OnlyForward(target.getvalue()), keys=key) as file:
        assert not file.seekable()
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
        assert file.read() == contents(size)


def test_a_source_that_cannot_seek_and_is_cut_fails(key: str) -> None:
    target = io.BytesIO()
    with wax.open(target, "wb", keys=key) as file:
        file.write(contents(2 * MIB))
    whole = target.getvalue()
    for lost in (1, 16, CHUNK + 16, MIB):
        with pytest.raises(wax.TamperedError), wax.open(OnlyForward(whole[:-lost]), keys=key) as file:
            while file.read(100_000):
                pass


def test_every_kind_of_path_is_taken(folder: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ["plain.wax", Path("a path.wax"), "ä.parquet", "no-suffix", os.fsencode("bytes.wax")]:
        if isinstance(name, bytes):
            # As `open` does, a name in bytes is taken, or refused with TypeError. It never becomes "b'...'".
            try:
                wax.open(name, "wb", keys=key).close()  # type: ignore[call-overload]
            except TypeError:
                continue
        else:
            with wax.open(name, "wb", keys=key) as file:
                file.write(b"content")
        assert is_valid(os.fsdecode(name), key)
    assert not any(name.startswith("b'") for name in os.listdir(folder))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_series_of_seeks_and_reads_gives_what_bytesio_gives(sealed: object, data: st.DataObject) -> None:
    path, content, key = sealed.path, sealed.content, sealed.key  # type: ignore[attr-defined]
    size = len(content)
    near = st.sampled_from([0, CHUNK, MIB, size - CHUNK, size]).flatmap(
        lambda place: st.integers(max(0, place - 20), place + 20)
    )
    place = st.one_of(near, st.integers(0, size + 50_000))
    length = st.one_of(st.just(-1), st.integers(0, 100), st.integers(0, 3 * CHUNK), st.integers(0, 2 * MIB))
    step = st.one_of(
        st.tuples(st.just("seek"), place),
        st.tuples(st.just("back"), place),
        st.tuples(st.just("on"), st.integers(-CHUNK, CHUNK)),
        st.tuples(st.just("read"), length),
        st.tuples(st.just("readinto"), st.integers(0, 3 * CHUNK)),
        st.tuples(st.just("readline"), st.integers(0, 2000)),
    )
    steps = data.draw(st.lists(step, max_size=25))
    model: BinaryIO = io.BytesIO(content)
    with wax.open(path, keys=key) as file:
        for what, number in steps:
            assert act(file, what, number) == act(model, what, number), (what, number)
            assert file.tell() == model.tell()


def act(file: BinaryIO, what: str, number: int) -> object:
    match what:
        case "seek":
            return file.seek(number)
        case "back":
            return file.seek(max(0, file.seek(0, io.SEEK_END) - number))
        case "on":
            return file.seek(max(0, file.tell() + number))
        case "read":
            return file.read(number)
        case "readline":
            return file.readline(number)
        case _:
            buffer = bytearray(number)
            done = file.readinto(buffer)  # type: ignore[attr-defined]
            return done, bytes(buffer[:done])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.one_of(st.integers(0, 50), st.integers(0, 3 * CHUNK), st.integers(0, 2 * MIB)), max_size=8))
def test_any_series_of_writes_is_one_content(key: str, lengths: list[int]) -> None:
    pieces = [contents(length, str(number)) for number, length in enumerate(lengths)]
    target = io.BytesIO()
    with wax.open(target, "wb", keys=key) as file:
        for piece in pieces:
            file.write(piece)
            assert file.tell() <= sum(map(len, pieces))
    target.seek(0)
    with wax.open(target, keys=key) as file:
        assert file.read() == b"".join(pieces)


def program() -> str | None:
    """The program `waxseal`, if it was built."""
    given = os.environ.get("WAXSEAL_PROGRAM")
    places = [given] if given else [str(REPOSITORY / "target" / kind / "waxseal") for kind in ("debug", "release")]
    return next((place for place in places if os.access(place, os.X_OK)), None)


def test_the_program_opens_what_the_package_seals_and_the_other_way_round(folder: Path, key: str) -> None:
    tool = program()
    if tool is None:
        skipped("the program and the package", "target/debug/waxseal is not built, and WAXSEAL_PROGRAM is not set")
        pytest.skip("the program is not built")
    content = contents(MIB + 1)
    with wax.open(folder / "a.wax", "wb", keys=key, context={"env": "test"}) as file:
        file.write(content)
    subprocess.run([tool, "decrypt", "-k", key, "-c", "env=test", "-o", folder / "a", folder / "a.wax"], check=True)
    assert (folder / "a").read_bytes() == content
    shutil.copy(folder / "a", folder / "b")
    subprocess.run([tool, "encrypt", "-k", key, "-l", "host=db1", folder / "b"], check=True)
    with wax.open(folder / "b.wax", keys=key, labels={"host": "db1"}) as file:
        assert file.read() == content
