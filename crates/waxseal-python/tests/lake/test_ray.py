"""Ray Data over sealed files: a cluster of two workers on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lake import ROWS, SPOILED, Bucket, document, says, spoil, table, total, write_lake, write_parquet

from pywaxseal.fs import WaxsealFileSystem

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
# All of its servers on 127.0.0.1.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
ray: Any = pytest.importorskip("ray")

pytestmark = pytest.mark.engines
PARTS = 8


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    # The names of its sockets are long, so the name of the folder is short.
    folder = tempfile.mkdtemp(prefix="wr", dir="/tmp")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=150_000_000,
        _temp_dir=folder,
        log_to_driver=False,
        configure_logging=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def lake(lake_key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_lake(WaxsealFileSystem(target_protocol="file", keys=[lake_key]), str(folder), PARTS)
    return folder


def local(key: str) -> WaxsealFileSystem:
    return WaxsealFileSystem(target_protocol="file", keys=[key])


def test_parquet_over_two_workers(lake: Path, lake_key: str) -> None:
    data = ray.data.read_parquet(str(lake), filesystem=local(lake_key))
    assert data.count() == PARTS * ROWS
    assert data.sum("value") == pytest.approx(total(PARTS), rel=1e-12)
    some = ray.data.read_parquet(str(lake), filesystem=local(lake_key), columns=["id"])
    assert some.filter(lambda row: row["id"] < 10).count() == 10


def test_writing_parquet(lake: Path, lake_key: str, tmp_path: Path) -> None:
    data = ray.data.read_parquet(str(lake), filesystem=local(lake_key), columns=["id", "value"])
    data.write_parquet(str(tmp_path / "out"), filesystem=local(lake_key))
    again = ray.data.read_parquet(str(tmp_path / "out"), filesystem=local(lake_key))
    assert again.sum("value") == pytest.approx(total(PARTS), rel=1e-12)
    assert not any(path.read_bytes().startswith(b"PAR1") for path in (tmp_path / "out").glob("*.parquet"))


def test_over_s3(s3: Bucket, lake_key: str) -> None:
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=[lake_key])
    write_lake(fs, f"{s3.name}/lake", 3)
    assert ray.data.read_parquet(f"{s3.name}/lake", filesystem=fs).sum("value") == pytest.approx(total(3), rel=1e-12)


def test_the_example_of_the_document(s3: Bucket, lake_key: str) -> None:
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=[lake_key])
    write_lake(fs, f"{s3.name}/lake", 2)
    (example,) = [example for example in document() if "import ray" in example]
    exec(example.replace("bucket/", f"{s3.name}/"), {"fs": fs})


def test_a_worker_that_is_killed_loses_nothing(lake: Path, lake_key: str, tmp_path: Path) -> None:
    """kill -9 of a worker in the middle of a query."""
    marks = str(tmp_path)

    def slowly(batch: Any) -> Any:
        Path(marks, f"{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(0.5)
        return {"value": batch["value"]}

    def kill() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and not os.listdir(marks):
            time.sleep(0.05)
        os.kill(int(os.listdir(marks)[0].split("-")[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    data = ray.data.read_parquet(str(lake), filesystem=local(lake_key)).map_batches(slowly, batch_size=ROWS // 2)
    assert data.sum("value") == pytest.approx(total(PARTS), rel=1e-12)
    killer.join()
    pids = {name.split("-")[0] for name in os.listdir(marks)}
    assert len(pids) >= 2, "another worker went on"


@pytest.mark.parametrize("kind", SPOILED)
def test_what_must_not_open_is_an_error_that_says_why(kind: str, lake_key: str, lake_other_key: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(local(lake_key), str(path), table())
    fs = spoil(kind, path, lake_key, lake_other_key)
    with pytest.raises(Exception) as raised:  # noqa: PT011: whatever class arrives.
        ray.data.read_parquet(str(path), filesystem=fs).materialize()
    assert says(kind, raised.value), (type(raised.value), str(raised.value))
