"""Compares `pywaxseal.open` with Python's `open`, with `pyrage` and with `cryptography`, in one run.

    python bench/files.py [--mib 1024] [--rounds 7] [--folder DIR]

It needs the packages pyrage and cryptography (47 or newer, for `cryptography.cobblestone`). Each round runs every
subject once, in another order. The table has medians, best times in brackets, and the ratio of the medians to the first
subject. Inputs are in the page cache, and nothing waits for the disk. The CPU time is that of all threads.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import pyrage
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import pywaxseal as wax

PIECE = 1 << 20
CHUNK = 16384
READS = 2000


class Nowhere:
    """Takes everything."""

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        pass


class Place:
    """The input, its sealed forms, and the keys."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.plain, self.wax, self.age, self.cobble, self.gcm, self.out = (
            folder / name for name in ("plain", "plain.wax", "plain.age", "plain.cobble", "plain.gcm", "out")
        )
        self.key = wax.KeyFile.generate()
        self.identity = pyrage.x25519.Identity.generate()
        self.secret = Cobblestone256Encryptor.generate_key()
        with open(self.plain, "wb") as out:
            for _ in range(size // PIECE):
                out.write(os.urandom(PIECE))

    def make(self) -> None:
        """Makes every sealed form once, and drops what is left of writing them."""
        for write, path in (
            (write_wax, self.wax),
            (write_age, self.age),
            (write_cobblestone, self.cobble),
            (write_gcm, self.gcm),
        ):
            write(self)
            self.out.rename(path)
        os.sync()


def pieces(path: Path) -> Iterator[memoryview]:
    with open(path, "rb", buffering=0) as source:
        buffer = bytearray(PIECE)
        view = memoryview(buffer)
        while read := source.readinto(buffer):
            yield view[:read]


def write_open(place: Place) -> None:
    with open(place.out, "wb") as out:
        for piece in pieces(place.plain):
            out.write(piece)


def write_wax(place: Place) -> None:
    with wax.open(place.out, "wb", keys=place.key, sync=False) as out:
        for piece in pieces(place.plain):
            out.write(piece)


def write_wax_bytes(place: Place) -> None:
    """`bytes` cannot change, and need no copy."""
    with open(place.plain, "rb", buffering=0) as source, wax.open(place.out, "wb", keys=place.key, sync=False) as out:
        while piece := source.read(8 * PIECE):
            out.write(piece)


def write_age(place: Place) -> None:
    with open(place.plain, "rb", buffering=0) as source, open(place.out, "wb", buffering=PIECE) as out:
        pyrage.encrypt_io(source, out, [place.identity.to_public()])


def write_cobblestone(place: Place) -> None:
    machine, sealed = Cobblestone256Encryptor(place.secret, b""), memoryview(bytearray(2 * PIECE))
    with open(place.out, "wb", buffering=0) as out:
        for piece in pieces(place.plain):
            out.write(sealed[: machine.update_into(piece, sealed)])
        out.write(machine.finalize())


def write_gcm(place: Place) -> None:
    """AES-256-GCM in chunks of 16 KiB, as anybody would write it in Python."""
    aead, number = AESGCM(place.secret), 0
    with open(place.out, "wb", buffering=PIECE) as out:
        for piece in pieces(place.plain):
            for at in range(0, len(piece), CHUNK):
                out.write(aead.encrypt(number.to_bytes(12, "big"), piece[at : at + CHUNK], None))
                number += 1


def into(file: io.BufferedReader) -> None:
    buffer = bytearray(PIECE)
    while file.readinto(buffer):
        pass


def read_open(place: Place) -> None:
    with open(place.plain, "rb") as file:
        into(file)


def read_wax(place: Place) -> None:
    with wax.open(place.wax, keys=place.key) as file:
        into(file)


def read_age(place: Place) -> None:
    with open(place.age, "rb", buffering=PIECE) as file:
        pyrage.decrypt_io(file, Nowhere(), [place.identity])


def read_cobblestone(place: Place) -> None:
    machine, plain = Cobblestone256Decryptor(place.secret, b""), memoryview(bytearray(2 * PIECE))
    for piece in pieces(place.cobble):
        machine.update_into(piece, plain)
    machine.finalize()


def read_gcm(place: Place) -> None:
    aead, number = AESGCM(place.secret), 0
    with open(place.gcm, "rb", buffering=PIECE) as file:
        while chunk := file.read(CHUNK + 16):
            aead.decrypt(number.to_bytes(12, "big"), chunk, None)
            number += 1


def offsets(place: Place) -> list[int]:
    numbers = random.Random(1)
    return [numbers.randrange(place.size - 4096) for _ in range(READS)]


def seek_and_read(file: BinaryIO, place: Place) -> None:
    for offset in offsets(place):
        file.seek(offset)
        assert len(file.read(4096)) == 4096


def random_open(place: Place) -> None:
    with open(place.plain, "rb") as file:
        seek_and_read(file, place)


def random_wax(place: Place) -> None:
    with wax.open(place.wax, keys=place.key) as file:
        seek_and_read(file, place)


def random_gcm(place: Place) -> None:
    aead = AESGCM(place.secret)
    with open(place.gcm, "rb", buffering=0) as file:
        for offset in offsets(place):
            first, last = offset // CHUNK, (offset + 4095) // CHUNK
            opened = b""
            for number in range(first, last + 1):
                file.seek(number * (CHUNK + 16))
                opened += aead.decrypt(number.to_bytes(12, "big"), file.read(CHUNK + 16), None)
            assert len(opened[offset - first * CHUNK :][:4096]) == 4096


def whole_encrypt(place: Place) -> None:
    wax.encrypt_file(place.plain, place.out, keys=place.key, sync=False)


def whole_decrypt(place: Place) -> None:
    wax.decrypt_file(place.wax, place.out, keys=place.key, sync=False)


SERIES: dict[str, list[tuple[str, Callable[[Place], None]]]] = {
    "write": [
        ("open", write_open),
        ("wax.open, pieces of 1 MiB of a bytearray", write_wax),
        ("wax.open, bytes of 8 MiB", write_wax_bytes),
        ("wax.encrypt_file", whole_encrypt),
        ("pyrage.encrypt_io", write_age),
        ("cryptography.cobblestone", write_cobblestone),
        ("cryptography AESGCM, chunks of 16 KiB", write_gcm),
    ],
    "read": [
        ("open", read_open),
        ("wax.open", read_wax),
        ("wax.decrypt_file, to a file", whole_decrypt),
        ("pyrage.decrypt_io", read_age),
        ("cryptography.cobblestone", read_cobblestone),
        ("cryptography AESGCM, chunks of 16 KiB", read_gcm),
    ],
    f"{READS} random reads of 4 KiB": [
        ("open", random_open),
        ("wax.open", random_wax),
        ("cryptography AESGCM, chunks of 16 KiB", random_gcm),
    ],
}


def most_threads(work: Callable[[], None]) -> int:
    """The most threads that the process has while `work` runs, without the one that counts."""
    most, ended = 0, threading.Event()

    def count() -> None:
        nonlocal most
        while not ended.wait(0.002):
            most = max(most, len(os.listdir("/proc/self/task")) - 1)

    counter = threading.Thread(target=count)
    counter.start()
    work()
    ended.set()
    counter.join()
    return most


def measure(place: Place, rounds: int) -> None:
    for what, subjects in SERIES.items():
        times: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in subjects}
        for number in range(rounds):
            for name, work in subjects[number % len(subjects) :] + subjects[: number % len(subjects)]:
                place.out.unlink(missing_ok=True)
                begun, cpu = time.perf_counter(), time.process_time()
                work(place)
                times[name].append((time.perf_counter() - begun, time.process_time() - cpu))
        place.out.unlink(missing_ok=True)
        base = statistics.median(wall for wall, _ in times[subjects[0][0]])
        print(f"\n{what}\n\n| subject | seconds | CPU seconds | ratio | threads |\n| --- | --- | --- | --- | --- |")
        for name, work in subjects:
            walls, cpus = zip(*times[name], strict=True)
            middle = statistics.median(walls)
            place.out.unlink(missing_ok=True)
            threads = most_threads(lambda work=work: work(place))  # type: ignore[misc]
            print(
                f"| {name} | {middle:.3f} ({min(walls):.3f}) | {statistics.median(cpus):.3f} | {middle / base:.2f} "
                f"| {threads} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        place = Place(Path(folder), given.mib * PIECE)
        place.make()
        versions = ", ".join(f"{name} {version(name)}" for name in ("pywaxseal", "pyrage", "cryptography"))
        print(f"CPython {platform.python_version()}, {versions}; {given.mib} MiB, {given.rounds} rounds")
        print(f"{os.cpu_count()} cores, load average before the run {os.getloadavg()[0]:.1f}")
        measure(place, given.rounds)
        print(f"\nload average after the run {os.getloadavg()[0]:.1f}", file=sys.stdout)


if __name__ == "__main__":
    main()
