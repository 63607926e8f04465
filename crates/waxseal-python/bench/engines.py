"""DuckDB, pandas and Dask over plain and over sealed Parquet, side by side.

    python bench/engines.py [--mib 1024] [--rounds 5] [--folder DIR] [--cold]

Each round runs every engine over three kinds of the same files, one directly after the other: `plain` is the engine's own
way to local files, `fsspec` is plain files through fsspec, `sealed` is sealed files through `pywaxseal.fs`. A ratio is of
two runs of the same round; the table shows the medians of the ratios. `--cold` drops the files from the page cache before
each run. At the end, a counting file system shows what each engine fetches.
"""

# What has no types of its own is taken as it is.
# mypy: disable-error-code="misc,no-untyped-call,arg-type,import-untyped,import-not-found"

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

import pywaxseal as wax
from pywaxseal.fs import WaxsealFileSystem

MIB = 1 << 20
FILES = 8
GROUP = 200_000
DUCKDB_THREADS = 2
DASK_WORKERS = 2


class Counting(LocalFileSystem):
    """Counts what is fetched."""

    fetched: list[int] = []

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        found: bytes = super().cat_file(path, start=start, end=end, **kwargs)
        Counting.fetched.append(len(found))
        return found


def make(folder: Path, mib: int, key: str) -> None:
    """Eight Parquet files with integers, floats and texts, compressed by Snappy as every engine does it, and sealed."""
    for name in ("plain", "sealed"):
        (folder / name).mkdir(parents=True)
    random = numpy.random.default_rng(1)
    words = numpy.array([f"word-{number}" for number in range(50_000)])
    for number in range(FILES):
        path = folder / f"plain/{number}.parquet"
        schema = pa.schema([("id", pa.int64()), ("count", pa.int64()), ("value", pa.float64()), ("other", pa.float64()), ("word", pa.string())])
        with pq.ParquetWriter(path, schema) as writer:
            row = number << 32
            while not path.exists() or path.stat().st_size < mib * MIB // FILES - 4 * MIB:
                columns = [
                    numpy.arange(row, row + GROUP),
                    random.integers(0, 1 << 40, GROUP),
                    random.random(GROUP),
                    random.normal(size=GROUP),
                    words[random.integers(0, len(words), GROUP)],
                ]
                writer.write_table(pa.table([pa.array(column) for column in columns], schema=schema), row_group_size=GROUP)
                row += GROUP
        wax.encrypt_file(path, folder / f"sealed/{number}.parquet", keys=[key], sync=False)


def drop(folder: Path) -> None:
    for path in folder.glob("*/*.parquet"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def duckdb_run(fs: Any, pattern: str) -> Callable[[], Any]:
    def run() -> Any:
        connection = duckdb.connect()
        connection.execute(f"SET threads = {DUCKDB_THREADS}")
        if fs is not None:
            connection.register_filesystem(fs)
        query = f"SELECT sum(id), sum(count), sum(value), sum(other), max(word) FROM read_parquet('{pattern}')"
        return connection.execute(query).fetchone()

    return run


def pandas_run(fs: Any, folder: Path) -> Callable[[], Any]:
    def run() -> Any:
        frames = (pandas.read_parquet(str(path), filesystem=fs) for path in sorted(folder.glob("*.parquet")))
        return sum(float(frame["value"].sum()) for frame in frames)

    return run


def dask_run(url: str, options: dict[str, Any]) -> Callable[[], Any]:
    import dask.dataframe as dd

    def run() -> Any:
        frame = dd.read_parquet(url, storage_options=options)
        return frame[["count", "value", "other"]].sum().compute()["value"], len(frame)

    return run


def runs(folder: Path, key: str, with_dask: bool) -> dict[str, dict[str, Callable[[], Any]]]:
    local = LocalFileSystem(skip_instance_cache=True)
    # DuckDB reads one Python file from several threads, and the files of LocalFileSystem then return the bytes of another
    # place. So there are no plain files through fsspec for it.
    sealed = WaxsealFileSystem(target_protocol="file", keys=[key], cache_seconds=0)
    plain, closed = folder / "plain", folder / "sealed"
    found = {
        f"DuckDB, {DUCKDB_THREADS} threads": {
            "plain": duckdb_run(None, f"{plain}/*.parquet"),
            "sealed": duckdb_run(sealed, f"waxseal://{closed}/*.parquet"),
        },
        f"pandas, pyarrow with {pa.cpu_count()} threads": {
            "plain": pandas_run(None, plain),
            "fsspec": pandas_run(local, plain),
            "sealed": pandas_run(sealed, closed),
        },
    }
    if with_dask:
        found[f"Dask, {DASK_WORKERS} processes of 1 thread"] = {
            "plain": dask_run(f"{plain}/*.parquet", {}),
            "fsspec": dask_run(f"file://{plain}/*.parquet", {"skip_instance_cache": True}),
            "sealed": dask_run(f"waxseal::file://{closed}/*.parquet", {"waxseal": {"keys": [key]}}),
        }
    return found


def measure(folder: Path, engines: dict[str, dict[str, Callable[[], Any]]], rounds: int, cold: bool) -> None:
    times: dict[tuple[str, str], list[float]] = {}
    for round_ in range(-1, rounds):
        for engine, kinds in engines.items():
            answers = {}
            names = list(kinds)
            # No kind is always first.
            turn = round_ % len(names)
            for kind in names[turn:] + names[:turn]:
                if cold:
                    drop(folder)
                start = time.perf_counter()
                answers[kind] = kinds[kind]()
                if round_ >= 0:
                    times.setdefault((engine, kind), []).append(time.perf_counter() - start)
            assert len(set(map(repr, answers.values()))) == 1 or numpy.allclose(*map(first, list(answers.values())[:2])), answers
    print(f"| {'cold' if cold else 'cached'} | plain, s | fsspec, s | sealed, s | sealed / plain | sealed / fsspec |")
    print("| --- | --- | --- | --- | --- | --- |")
    for engine in engines:
        every = [times.get((engine, kind), []) for kind in ("plain", "fsspec", "sealed")]
        ratios = [[a / b for a, b in zip(every[2], other, strict=False)] for other in every[:2]]
        print("|", " | ".join([engine, *map(median, every + ratios)]), "|", flush=True)


def median(figures: list[float]) -> str:
    return f"{statistics.median(figures):.2f}" if figures else ""


def first(answer: Any) -> float:
    return float(answer[2] if isinstance(answer, tuple) and len(answer) == 5 else answer[0] if isinstance(answer, tuple) else answer)


def count(folder: Path, key: str) -> None:
    """What one column of one file of eight needs, and all."""
    fs = WaxsealFileSystem(fs=Counting(skip_instance_cache=True), keys=[key], skip_instance_cache=True)
    total = sum(path.stat().st_size for path in (folder / "sealed").iterdir())
    queries: dict[str, Callable[[], Any]] = {
        "DuckDB, all": duckdb_run(fs, f"waxseal://{folder}/sealed/*.parquet"),
        "DuckDB, one column": lambda: duckdb_one(fs, f"waxseal://{folder}/sealed/*.parquet"),
        "pandas, all": pandas_run(fs, folder / "sealed"),
        "pandas, one column": lambda: [
            pandas.read_parquet(str(path), filesystem=fs, columns=["value"]) for path in (folder / "sealed").iterdir()
        ],
    }
    print("| query | requests | MiB fetched | of all |")
    print("| --- | --- | --- | --- |")
    for name, query in queries.items():
        fs._headers.drop()
        Counting.fetched.clear()
        query()
        fetched = sum(Counting.fetched)
        print(f"| {name} | {len(Counting.fetched)} | {fetched / MIB:.0f} | {fetched / total:.0%} |", flush=True)


def duckdb_one(fs: Any, pattern: str) -> Any:
    connection = duckdb.connect()
    connection.register_filesystem(fs)
    return connection.execute(f"SELECT sum(value) FROM read_parquet('{pattern}')").fetchone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the files are made (default: the folder for temporary files)")
    parser.add_argument("--cold", action="store_true", help="measure also with files that are not in the page cache")
    parser.add_argument("--no-dask", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        wax.KeyFile.generate().save(folder / "key")
        key = f"file:{folder / 'key'}"
        make(folder, options.mib, key)
        if options.no_dask:
            all_measures(folder, key, options)
            return
        from distributed import Client, LocalCluster

        settings = {"n_workers": DASK_WORKERS, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
        with LocalCluster(processes=True, local_directory=str(folder), **settings) as cluster, Client(cluster):
            all_measures(folder, key, options)


def all_measures(folder: Path, key: str, options: argparse.Namespace) -> None:
    size = sum(path.stat().st_size for path in (folder / "plain").iterdir())
    versions = f"DuckDB {duckdb.__version__}, pandas {pandas.__version__}, pyarrow {pa.__version__}"
    print(f"{size / MIB:.0f} MiB of Parquet in {FILES} files, {options.rounds} rounds, {os.cpu_count()} cores; {versions}\n")
    engines = runs(folder, key, not options.no_dask)
    measure(folder, engines, options.rounds, cold=False)
    if options.cold:
        print()
        measure(folder, engines, options.rounds, cold=True)
    print()
    count(folder, key)


if __name__ == "__main__":
    main()
