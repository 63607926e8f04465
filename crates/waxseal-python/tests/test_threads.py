"""Threads: files may be shared, and long work lets other threads run."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Sealed
from support import MIB, contents, plaintext_of

import pywaxseal as wax

PIECE = 1000


def test_threads_share_one_reader(sealed: Sealed) -> None:
    """Each `read` of a BufferedReader is one step, so that the pieces are those of one thread that reads in order."""
    with wax.open(sealed.path, keys=sealed.key) as file:

        def read_on(_: int) -> list[bytes]:
            pieces = []
            while piece := file.read(PIECE):
                pieces.append(piece)
            return pieces

        with ThreadPoolExecutor(8) as pool:
            pieces = [piece for part in pool.map(read_on, range(8)) for piece in part]
    content = sealed.content
    assert sorted(pieces) == sorted(content[at : at + PIECE] for at in range(0, len(content), PIECE))


@pytest.mark.parametrize("other", ["readinto", "read1", "readline", "read", "short"])
def test_long_reads_and_other_methods_take_each_byte_once(folder: Path, key: str, other: str) -> None:
    """A long `read` takes a shorter way. Other threads use other methods meanwhile."""
    count, width = 1_500_000, 8
    lines = (f"{number:0{width - 1}d}\n" for number in range(count))
    with wax.open(folder / "x", "wb", keys=key) as file:
        file.write("".join(lines).encode())

    def take(file: wax.SealedReader) -> bytes:
        match other:
            case "readinto":
                buffer = bytearray(400_000)
                return bytes(buffer[: file.readinto(buffer)])
            case "read1":
                return file.read1(8 * 1000)
            case "readline":
                return file.readline()
            case "short":
                return file.read(8 * 100)
            case _:
                return file.read(400_000)

    with wax.open(folder / "x", keys=key) as file:

        def read_on(method: Callable[[], bytes]) -> list[bytes]:
            pieces = []
            while piece := method():
                pieces.append(piece)
            return pieces

        with ThreadPoolExecutor(4) as pool:
            methods = [lambda: file.read(400_000), lambda: take(file)] * 2
            pieces = [piece for part in pool.map(read_on, methods) for piece in part]
        assert file.tell() == count * width
    numbers = b"".join(pieces).split()
    assert len(numbers) == count and len(set(numbers)) == count


def test_a_long_read_does_not_move_other_threads(sealed: Sealed) -> None:
    """It has taken its range before it reads. Afterwards it moves nobody, also if it fails."""
    size = len(sealed.content)
    for place, fails in [(100, False), (0, True)]:
        with wax.open(sealed.path, keys=sealed.key) as file:
            reads, raw = threading.Event(), file.raw
            goes_on = threading.Event()
            real = raw.read_range  # type: ignore[attr-defined]

            def read_range(start: int, end: int) -> bytes:
                reads.set()
                goes_on.wait(60)
                if fails:
                    raise OSError
                return real(start, end)  # type: ignore[no-any-return]

            raw.read_range = read_range  # type: ignore[attr-defined]
            file.seek(place)
            with ThreadPoolExecutor(1) as pool:
                long = pool.submit(file.read, size)
                assert reads.wait(60)
                file.seek(0)
                assert file.read(10) == sealed.content[:10]
                goes_on.set()
                assert fails == (long.exception() is not None)
                assert fails or long.result() == sealed.content[place:]
            assert file.read(10) == sealed.content[10:20]


def test_threads_share_one_raw_reader(sealed: Sealed) -> None:
    """A raw reader may give fewer bytes. Each piece is still whole, and no byte comes twice."""
    with wax.open(sealed.path, keys=sealed.key) as file:
        raw = file.raw

        def read_on(_: int) -> list[bytes]:
            pieces = []
            while piece := raw.read(PIECE):
                pieces.append(piece)
            return pieces

        with ThreadPoolExecutor(8) as pool:
            pieces = [piece for part in pool.map(read_on, range(8)) for piece in part]
    assert sum(map(len, pieces)) == len(sealed.content)
    places = sorted((sealed.content.index(piece), piece) for piece in pieces if len(piece) > 16)
    assert all(one[0] + len(one[1]) <= two[0] for one, two in zip(places, places[1:], strict=False))


def test_each_thread_has_its_own_reader(sealed: Sealed) -> None:
    def read(number: int) -> bool:
        with wax.open(sealed.path, keys=sealed.key) as file:
            for step in range(50):
                place = (number * 7919 + step * 104_729) % len(sealed.content)
                file.seek(place)
                if file.read(4096) != sealed.content[place : place + 4096]:
                    return False
            file.seek(0)
            return file.read() == sealed.content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(16)))


def test_threads_share_one_writer(folder: Path, key: str) -> None:
    """Each `write` is one step."""
    pieces = [contents(4096, str(number)) for number in range(400)]
    with wax.open(folder / "x.wax", "wb", keys=key) as file, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(file.write, pieces)) == [4096] * 400
    content = plaintext_of(folder / "x.wax", key)
    assert sorted(content[at : at + 4096] for at in range(0, len(content), 4096)) == sorted(pieces)


def test_threads_share_one_ranges(sealed: Sealed) -> None:
    whole = sealed.path.read_bytes()
    ranges = wax.Ranges(len(whole), lambda start, end: whole[start:end], keys=sealed.key)

    def read(number: int) -> bool:
        start = (number * 7919) % len(sealed.content)
        return ranges.read_range(start, min(start + 5000, ranges.size)) == sealed.content[start : start + 5000]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(500)))


def test_a_close_while_another_thread_writes_gives_a_whole_file_or_none(folder: Path, key: str) -> None:
    for attempt in range(20):
        path = folder / f"{attempt}.wax"
        file = wax.open(path, "wb", keys=key)
        written: list[int] = []

        def write(file: wax.SealedWriter = file, written: list[int] = written) -> None:
            try:
                while True:
                    written.append(file.write(bytes(100_000)))
            except ValueError:
                pass

        thread = threading.Thread(target=write)
        thread.start()
        while not written:
            time.sleep(0)
        file.close()
        thread.join()
        assert len(plaintext_of(path, key)) == sum(written)


@pytest.fixture
def nobody_is_interrupted() -> Iterator[None]:
    """A thread that computes keeps the interpreter until it gives it up by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def turns_during(work: Callable[[], object]) -> int:
    """How many turns another thread gets while `work` runs.

    Nobody takes the interpreter away from `work`: the other thread gets a turn only if `work` gives it up.
    """
    turns, begun, ended = 0, threading.Event(), False

    def count() -> None:
        nonlocal turns
        while not ended:
            turns += 1
            begun.set()
            time.sleep(0)  # gives the interpreter up

    thread = threading.Thread(target=count)
    thread.start()
    begun.wait()
    before = turns
    work()
    after = turns
    ended = True
    thread.join()
    return after - before


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, key: str) -> Path:
    """64 MiB, as a file and sealed."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "in").write_bytes(contents(64 * MIB))
    wax.encrypt_file(folder / "in", folder / "in.wax", keys=key)
    return folder


WORK: dict[str, Callable[[Path, Path, str], Callable[[], object]]] = {
    "encrypt_file": lambda large, folder, key: lambda: wax.encrypt_file(large / "in", folder / "x", keys=key),
    "decrypt_file": lambda large, folder, key: lambda: wax.decrypt_file(large / "in.wax", folder / "x", keys=key),
    "verify": lambda large, folder, key: lambda: wax.verify(large / "in.wax", keys=key),
    "one write": lambda large, folder, key: one_write(large, folder, key),
    "one read": lambda large, folder, key: one_read(large, key),
    "Sealer.push": lambda large, folder, key: one_push(large, key),
    "Ranges.open_range": lambda large, folder, key: one_range(large, key),
}


def one_write(large: Path, folder: Path, key: str) -> Callable[[], object]:
    content = (large / "in").read_bytes()
    file = wax.open(folder / "x", "wb", keys=key)
    return lambda: (file.write(content), file.discard())


def one_read(large: Path, key: str) -> Callable[[], object]:
    file = wax.open(large / "in.wax", keys=key)
    return file.read


def one_push(large: Path, key: str) -> Callable[[], object]:
    content, sealer = (large / "in").read_bytes(), wax.Sealer(keys=key)
    return lambda: sealer.push(content)


def one_range(large: Path, key: str) -> Callable[[], object]:
    whole = (large / "in.wax").read_bytes()
    ranges = wax.Ranges(len(whole), lambda start, end: whole[start:end], keys=key)
    start, end = ranges.sealed_range(0, ranges.size)
    return lambda: ranges.open_range(0, ranges.size, whole[start:end])


@pytest.mark.parametrize("work", WORK)
def test_long_work_lets_other_threads_run(
    large: Path, folder: Path, key: str, work: str, nobody_is_interrupted: None
) -> None:
    prepared = WORK[work](large, folder, key)
    turns = turns_during(prepared)
    # Work that keeps the interpreter allows one at most, as the next test shows.
    assert turns > 3, f"only {turns} turns in 64 MiB"


def test_the_measure_of_turns_notices_work_that_keeps_the_interpreter(nobody_is_interrupted: None) -> None:
    """So that the test above can fail."""
    assert turns_during(lambda: sum(range(20_000_000))) <= 1
