"""What the tests of the lake share: tables, stores that count or that change an object, and the ways to spoil one."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from pywaxseal.fs import WaxsealFileSystem

ROWS = 30_000
GROUP = 5_000

# What each failure says, in the words of pywaxseal, whatever engine passes it on.
SPOILED = {
    "wrong key": r"no key",
    "altered": r"does not authenticate",
    "cut": r"cut|truncated|ends|does not authenticate",
    "replaced": r"was replaced",
}


def document() -> list[str]:
    """The examples of docs/engines-python.md."""
    text = (Path(__file__).resolve().parents[4] / "docs/engines-python.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def table(part: int = 0, rows: int = ROWS) -> pa.Table:
    """Rows that differ everywhere, the same in every run. `noise` does not compress."""
    random = numpy.random.default_rng(part)
    return pa.table(
        {
            "id": pa.array(numpy.arange(part * rows, (part + 1) * rows)),
            "kind": pa.array(numpy.array(["a", "b", "c"])[random.integers(0, 3, rows)]),
            "value": pa.array(random.random(rows)),
            "noise": pa.array([bytes(row) for row in random.integers(0, 256, (rows, 32), dtype=numpy.uint8)]),
        }
    )


def write_parquet(fs: Any, path: str, data: pa.Table) -> None:
    with fs.open(path, "wb") as out:
        pq.write_table(data, out, row_group_size=GROUP)


def write_lake(fs: Any, folder: str, parts: int) -> list[str]:
    paths = [f"{folder}/part-{part:03}.parquet" for part in range(parts)]
    for part, path in enumerate(paths):
        write_parquet(fs, path, table(part))
    return paths


def total(parts: int, column: str = "value") -> float:
    return float(sum(numpy.asarray(table(part)[column]).sum() for part in range(parts)))


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the options of s3fs for it."""

    name: str
    options: dict[str, Any]
    client: Any


@dataclass(frozen=True)
class Store:
    """A file system with sealed objects, the one below it, and a folder."""

    fs: WaxsealFileSystem
    inner: Any
    folder: str
    key: str


class CountingFileSystem(MemoryFileSystem):
    """Counts what is fetched, and refuses arguments without a name, which mean something else to other stores."""

    protocol = "counting"
    fetched: list[tuple[str, int, int]] = []

    def cat_file(self, path: str, *args: Any, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        assert not args, "the second positional argument of s3fs is a version"
        found: bytes = super().cat_file(path, start=start, end=end, **kwargs)
        CountingFileSystem.fetched.append((path, start or 0, (start or 0) + len(found)))
        return found


class TimelessFileSystem(MemoryFileSystem):
    """Says of a file only its name, its size, and perhaps a time that never changes. So nothing shows that it was replaced
    by one of the same size."""

    protocol = "timeless"

    def __init__(self, *args: Any, created: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.created_at = created

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        details = super().info(path, **kwargs)
        kept = {name: value for name, value in details.items() if name in ("name", "size", "type")}
        return kept if self.created_at is None else kept | {"created": self.created_at}


class ReplacingFileSystem(LocalFileSystem):
    """A store in which a file with the name `PATH.next` takes the place of PATH before the third request for PATH: after
    the two that open it."""

    protocol = "replacing"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: dict[str, int] = {}

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        path = self._strip_protocol(path)
        self.asked[path] = self.asked.get(path, 0) + 1
        if self.asked[path] == 3 and Path(path + ".next").exists():
            Path(path + ".next").replace(path)
        found: bytes = super().cat_file(path, start=start, end=end, **kwargs)
        return found


fsspec.register_implementation("counting", CountingFileSystem, clobber=True)
fsspec.register_implementation("timeless", TimelessFileSystem, clobber=True)
fsspec.register_implementation("replacing", ReplacingFileSystem, clobber=True)


def spoil(kind: str, path: Path, key: str, other_key: str) -> WaxsealFileSystem:
    """Spoils a sealed file, or the way to it. Returns the file system that must show it."""
    if kind == "wrong key":
        return WaxsealFileSystem(target_protocol="file", keys=[other_key])
    if kind == "altered":
        alter(path)
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    else:
        fs = WaxsealFileSystem(target_protocol="file", keys=[key])
        write_parquet(fs, f"{path}.new", table(7))
        shutil.move(f"{path}.new", f"{path}.next")
        return WaxsealFileSystem(target_protocol="replacing", target_options={"skip_instance_cache": True}, keys=[key])
    return WaxsealFileSystem(target_protocol="file", keys=[key])


def alter(path: Path) -> None:
    """Flips one bit of the payload of every row group, so that every query meets it."""
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 4, len(content) - 100_000, 16384):
        content[at] ^= 1
    path.write_bytes(content)


def says(kind: str, error: BaseException) -> bool:
    """Whether an error, or one that it comes from, has the words."""
    seen: set[int] = set()
    texts = []
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts.append(str(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return re.search(SPOILED[kind], "\n".join(texts), re.IGNORECASE) is not None
