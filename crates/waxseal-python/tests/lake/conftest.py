"""Fixtures for file systems over memory, local files and S3 on 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from lake import Bucket, Store
from support import emulator, new_key

from pywaxseal.fs import WaxsealFileSystem

# Workers of engines find `lake` here.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def lake_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_key(tmp_path_factory.mktemp("lake") / "lake.key")


@pytest.fixture(scope="session")
def lake_other_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A key that opens nothing of `lake_key`."""
    return new_key(tmp_path_factory.mktemp("lake") / "other.key")


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """An emulator of S3 and KMS."""
    with emulator("moto") as url:
        yield url


@pytest.fixture
def s3(moto_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    import boto3

    settings = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
    settings |= {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": moto_url, "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    bucket = f"lake-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**9}"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    options = {"key": "AKIDEXAMPLE", "secret": "secret", "endpoint_url": moto_url}
    return Bucket(bucket, options | {"client_kwargs": {"region_name": "eu-west-1"}}, client)


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, lake_key: str, tmp_path: Path) -> Store:
    options: dict[str, Any] = {}
    folder = {"memory": "/lake", "file": str(tmp_path / "lake")}.get(request.param, "")
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("s3")
        options, folder = bucket.options, f"{bucket.name}/lake"
    if request.param == "file":
        options = {"auto_mkdir": True}
    inner = fsspec.filesystem(request.param, **options)
    fs = WaxsealFileSystem(target_protocol=request.param, target_options=options, keys=[lake_key])
    return Store(fs, inner, folder, lake_key)
