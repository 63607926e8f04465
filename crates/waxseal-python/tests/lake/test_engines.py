"""pandas, pyarrow, DuckDB and Polars over sealed files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from lake import (
    GROUP,
    ROWS,
    SPOILED,
    Bucket,
    CountingFileSystem,
    Store,
    says,
    spoil,
    table,
    total,
    write_lake,
    write_parquet,
)

from pywaxseal.fs import WaxsealFileSystem

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore:.*not written")]


def url_of(store: Store, name: str) -> str:
    protocol = store.inner.protocol if isinstance(store.inner.protocol, str) else store.inner.protocol[0]
    return f"waxseal::{protocol}://{store.folder.lstrip('/') if protocol == 'memory' else store.folder}/{name}"


def options_of(store: Store) -> dict[str, Any]:
    protocol = store.inner.protocol if isinstance(store.inner.protocol, str) else store.inner.protocol[0]
    return {"waxseal": {"keys": [store.key]}, protocol: dict(store.inner.storage_options)}


def database(fs: Any) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register_filesystem(fs)
    return connection


# pandas


def test_pandas_parquet(store: Store) -> None:
    frame = table().to_pandas()
    store.fs.makedirs(store.folder, exist_ok=True)
    frame.to_parquet(url_of(store, "a.parquet"), storage_options=options_of(store))
    assert not store.inner.cat_file(f"{store.folder}/a.parquet").startswith(b"PAR1")
    found = pandas.read_parquet(url_of(store, "a.parquet"), storage_options=options_of(store))
    pandas.testing.assert_frame_equal(found, frame)
    columns = pandas.read_parquet(f"{store.folder}/a.parquet", filesystem=store.fs, columns=["value"], filters=[("id", "<", 10)])
    assert columns["value"].tolist() == frame["value"].tolist()[:10]


def test_pandas_csv(store: Store) -> None:
    frame = table(rows=3000).to_pandas().drop(columns="noise")
    store.fs.makedirs(store.folder, exist_ok=True)
    for name in ("a.csv", "a.csv.gz"):
        frame.to_csv(url_of(store, name), storage_options=options_of(store), index=False)
        found = pandas.read_csv(url_of(store, name), storage_options=options_of(store))
        pandas.testing.assert_frame_equal(found, frame)
    with store.fs.open(f"{store.folder}/a.csv") as file:
        parts = list(pandas.read_csv(file, chunksize=1000))
        assert sum(len(part) for part in parts) == 3000


def test_a_csv_that_pandas_cannot_finish_is_not_there(store: Store) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("a value that has no text")

    store.fs.makedirs(store.folder, exist_ok=True)
    frame = pandas.DataFrame({"a": [1] * 5000 + [Bad()]}, dtype=object)
    with pytest.raises(RuntimeError, match="no text"):
        frame.to_csv(url_of(store, "a.csv"), storage_options=options_of(store))
    assert not store.inner.exists(f"{store.folder}/a.csv")


# pyarrow


def test_arrow_datasets(store: Store) -> None:
    data = pa.concat_tables([table(part) for part in range(3)])
    ds.write_dataset(
        data,
        f"{store.folder}/lake",
        filesystem=store.fs,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("kind", pa.string())]), flavor="hive"),
    )
    assert len(store.fs.find(f"{store.folder}/lake")) >= 3
    found = ds.dataset(f"{store.folder}/lake", filesystem=store.fs, format="parquet", partitioning="hive")
    assert found.count_rows() == 3 * ROWS
    picked = found.to_table(columns=["id", "kind"], filter=(ds.field("kind") == "b") & (ds.field("id") < ROWS))
    expected = [row for row, kind in zip(data["id"].to_pylist(), data["kind"].to_pylist(), strict=True) if kind == "b" and row < ROWS]
    assert sorted(picked["id"].to_pylist()) == expected and set(picked["kind"].to_pylist()) == {"b"}


def test_only_the_ranges_that_a_query_needs_are_fetched(lake_key: str) -> None:
    """One column of one row group of six."""
    fs = WaxsealFileSystem(target_protocol="counting", keys=[lake_key])
    write_parquet(fs, "/lake/a.parquet", table())
    with fs.open("/lake/a.parquet") as file:
        details = pq.ParquetFile(file).metadata
        chunk = details.row_group(3).column(2)
        needed = chunk.total_compressed_size
        dictionary = chunk.dictionary_page_offset
        start = chunk.data_page_offset if dictionary is None else dictionary
    size = fs.fs.size("/lake/a.parquet")
    queries: dict[str, Any] = {
        "pyarrow": lambda: ds.dataset("/lake/a.parquet", filesystem=fs)
        .to_table(columns=["value"], filter=(ds.field("id") >= 3 * GROUP) & (ds.field("id") < 4 * GROUP))
        .num_rows,
        "pandas": lambda: len(
            pandas.read_parquet(
                "/lake/a.parquet", filesystem=fs, columns=["value"], filters=[("id", ">=", 3 * GROUP), ("id", "<", 4 * GROUP)]
            )
        ),
        "DuckDB": lambda: database(fs)
        .execute(f"SELECT count(*), sum(value) FROM 'waxseal:///lake/a.parquet' WHERE id BETWEEN {3 * GROUP} AND {4 * GROUP - 1}")
        .fetchone()[0],
    }
    for engine, query in queries.items():
        fs._headers.drop()
        CountingFileSystem.fetched.clear()
        assert query() == GROUP
        fetched = CountingFileSystem.fetched
        share = sum(end - first for _, first, end in fetched) / size
        print(f"{engine}: {len(fetched)} requests, {share:.0%} of {size} bytes, {needed} needed")
        assert any(first <= start + 8192 and end >= start for _, first, end in fetched), engine
        assert share < 0.35, (engine, fetched)


# DuckDB


def test_duckdb_reads_and_writes(store: Store) -> None:
    store.fs.makedirs(store.folder, exist_ok=True)
    write_lake(store.fs, store.folder, 5)
    folder = f"waxseal://{store.folder}"
    connection = database(store.fs)
    count, found = connection.execute(f"SELECT count(*), sum(value) FROM read_parquet('{folder}/*.parquet')").fetchone()  # type: ignore[misc]
    assert count == 5 * ROWS and found == pytest.approx(total(5), rel=1e-12)
    connection.execute(f"COPY (SELECT id, value FROM read_parquet('{folder}/part-003.parquet')) TO '{folder}/out.parquet' (FORMAT parquet)")
    connection.execute(f"COPY (SELECT id FROM read_parquet('{folder}/part-003.parquet')) TO '{folder}/out.csv'")
    with store.fs.open(f"{store.folder}/out.parquet") as file:
        assert pq.read_table(file).sort_by("id").to_pydict() == table(3).select(["id", "value"]).to_pydict()
    rows = connection.execute(f"SELECT count(*), min(id) FROM '{folder}/out.csv'").fetchone()
    assert rows == (ROWS, 3 * ROWS)
    assert not store.inner.cat_file(f"{store.folder}/out.parquet").startswith(b"PAR1")


def test_a_copy_that_duckdb_cannot_finish_is_not_there(store: Store) -> None:
    store.fs.makedirs(store.folder, exist_ok=True)
    query = "SELECT CASE WHEN i = 400000 THEN error('broken') ELSE i::VARCHAR END FROM range(500000) t(i)"
    with pytest.raises(duckdb.Error, match="broken"):
        database(store.fs).execute(f"COPY ({query}) TO 'waxseal://{store.folder}/a.csv'")
    assert not store.inner.exists(f"{store.folder}/a.csv")


# Polars


def test_polars_files_and_datasets(store: Store) -> None:
    store.fs.makedirs(store.folder, exist_ok=True)
    frame = polars.from_arrow(table())
    assert isinstance(frame, polars.DataFrame)
    with store.fs.open(f"{store.folder}/a.parquet", "wb") as out:
        frame.write_parquet(out)
    with store.fs.open(f"{store.folder}/a.parquet") as file:
        assert polars.read_parquet(file, columns=["id", "value"]).equals(frame.select("id", "value"))
    with store.fs.open(f"{store.folder}/a.csv", "wb") as out:
        frame.select("id", "kind").write_csv(out)
    with store.fs.open(f"{store.folder}/a.csv") as file:
        assert polars.read_csv(file).equals(frame.select("id", "kind"))
    write_lake(store.fs, f"{store.folder}/lake", 3)
    data = ds.dataset(f"{store.folder}/lake", filesystem=store.fs, format="parquet")
    lazy = polars.scan_pyarrow_dataset(data).filter(polars.col("id") < ROWS).select(polars.col("value").sum())
    assert lazy.collect().item() == pytest.approx(total(1), rel=1e-12)


# What must not open


def engines(fs: Any, path: str) -> dict[str, Any]:
    def polars_file() -> Any:
        with fs.open(path) as file:
            return polars.read_parquet(file)

    return {
        "pandas": lambda: pandas.read_parquet(path, filesystem=fs),
        "pyarrow": lambda: ds.dataset(path, filesystem=fs).to_table(),
        "DuckDB": lambda: database(fs).execute(f"SELECT sum(value), max(noise) FROM 'waxseal://{path}'").fetchall(),
        "Polars": polars_file,
        "Polars over pyarrow": lambda: polars.scan_pyarrow_dataset(ds.dataset(path, filesystem=fs)).collect(),
    }


@pytest.mark.parametrize("engine", list(engines(None, "")))
@pytest.mark.parametrize("kind", SPOILED)
def test_what_must_not_open_is_an_error_that_says_why(kind: str, engine: str, lake_key: str, lake_other_key: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(WaxsealFileSystem(target_protocol="file", keys=[lake_key]), str(path), table())
    query = engines(WaxsealFileSystem(target_protocol="file", keys=[lake_key]), str(path))[engine]
    query()
    fs = spoil(kind, path, lake_key, lake_other_key)
    # Each engine has a class of its own. That of Polars for an error of a file object is no Exception.
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        engines(fs, str(path))[engine]()
    assert says(kind, raised.value), (type(raised.value), str(raised.value))


def test_over_s3_with_keys_in_kms(s3: Bucket) -> None:
    import boto3

    key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
    boto3.client("kms").create_alias(AliasName="alias/engines", TargetKeyId=key)
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=["alias/engines"])
    write_lake(fs, f"{s3.name}/lake", 4)
    found = ds.dataset(f"{s3.name}/lake", filesystem=fs, format="parquet").to_table(columns=["value"])
    assert numpy.asarray(found["value"]).sum() == pytest.approx(total(4), rel=1e-12)
    answer = database(fs).execute(f"SELECT sum(value) FROM read_parquet('waxseal://{s3.name}/lake/*.parquet')").fetchone()
    assert answer is not None and answer[0] == pytest.approx(total(4), rel=1e-12)
