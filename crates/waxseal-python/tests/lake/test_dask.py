"""Dask over sealed files: a cluster of two processes on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pytest
from distributed import Client, LocalCluster
from lake import ROWS, SPOILED, Bucket, says, spoil, table, total, write_lake, write_parquet

from pywaxseal.fs import WaxsealFileSystem

pytestmark = pytest.mark.engines
PARTS = 12


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("dask")
    with (
        dask.config.set({"distributed.worker.daemon": True, "distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, local_directory=folder
        ) as cluster,
        Client(cluster) as made,
    ):
        yield made


def options(key: str, **more: Any) -> dict[str, Any]:
    return {"waxseal": {"keys": [key]}} | more


@pytest.fixture(scope="module")
def lake(lake_key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_lake(WaxsealFileSystem(target_protocol="file", keys=[lake_key]), str(folder), PARTS)
    return folder


def test_parquet_over_processes(client: Any, lake: Path, lake_key: str) -> None:
    frame = dd.read_parquet(f"waxseal::file://{lake}/*.parquet", storage_options=options(lake_key))
    assert frame.npartitions >= 2
    assert frame["value"].sum().compute() == pytest.approx(total(PARTS), rel=1e-12)
    assert len(frame[frame.id < ROWS]) == ROWS


def test_a_file_system_object_and_arrow(client: Any, lake: Path, lake_key: str) -> None:
    fs = WaxsealFileSystem(target_protocol="file", keys=[lake_key])
    assert dd.read_parquet(str(lake), filesystem=fs)["value"].sum().compute() == pytest.approx(total(PARTS), rel=1e-12)


def test_writing_parquet_and_csv(client: Any, lake: Path, lake_key: str, tmp_path: Path) -> None:
    frame = dd.read_parquet(f"waxseal::file://{lake}/*.parquet", storage_options=options(lake_key))
    frame[["id", "value"]].to_parquet(f"waxseal::file://{tmp_path}/out", storage_options=options(lake_key), write_index=False)
    again = dd.read_parquet(f"waxseal::file://{tmp_path}/out", storage_options=options(lake_key))
    assert again["value"].sum().compute() == pytest.approx(total(PARTS), rel=1e-12)
    assert not any(path.read_bytes().startswith(b"PAR1") for path in (tmp_path / "out").glob("*.parquet"))
    frame[["id"]].to_csv(f"waxseal::file://{tmp_path}/csv/*.csv", storage_options=options(lake_key), index=False)
    rows = dd.read_csv(f"waxseal::file://{tmp_path}/csv/*.csv", storage_options=options(lake_key), blocksize=50_000)
    assert len(rows) == PARTS * ROWS


def test_over_s3(client: Any, s3: Bucket, lake_key: str) -> None:
    write_lake(WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=[lake_key]), f"{s3.name}/lake", 3)
    frame = dd.read_parquet(f"waxseal::s3://{s3.name}/lake", storage_options=options(lake_key, s3=s3.options))
    assert frame["value"].sum().compute() == pytest.approx(total(3), rel=1e-12)


def test_a_worker_that_is_killed_loses_nothing(client: Any, lake: Path, lake_key: str, tmp_path: Path) -> None:
    """One of two workers is killed in the middle. Its nanny starts another one."""
    frame = dd.read_parquet(f"waxseal::file://{lake}/*.parquet", storage_options=options(lake_key))
    marks = str(tmp_path)

    def slowly(part: Any, marks: str) -> Any:
        Path(marks, f"{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(0.3)
        return part[["value"]].sum()

    answer = client.compute(frame.map_partitions(slowly, marks, meta=(None, "f8")))
    before = set(client.run(os.getpid).values())
    while not (marked := {int(name.split("-")[0]) for name in os.listdir(marks)} & before):
        time.sleep(0.05)
    os.kill(next(iter(marked)), signal.SIGKILL)
    assert answer.result(timeout=240).sum() == pytest.approx(total(PARTS), rel=1e-12)
    client.wait_for_workers(2, timeout=120)
    assert set(client.run(os.getpid).values()) != before


@pytest.mark.parametrize("kind", SPOILED)
def test_what_must_not_open_is_an_error_that_says_why(
    client: Any, kind: str, lake_key: str, lake_other_key: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(WaxsealFileSystem(target_protocol="file", keys=[lake_key]), str(path), table())
    fs = spoil(kind, path, lake_key, lake_other_key)
    with pytest.raises(Exception) as raised:  # noqa: PT011: whatever class arrives.
        dd.read_parquet(str(path), filesystem=fs).compute()
    assert says(kind, raised.value), (type(raised.value), str(raised.value))
