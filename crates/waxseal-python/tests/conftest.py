"""Fixtures: keys, emulators of AWS on 127.0.0.1, and an environment that knows nothing of whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from support import contents, emulator, new_key

import pywaxseal as wax

REGION = "eu-west-1"
ACCOUNT = "123456789012"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": REGION}


@pytest.fixture(autouse=True)
def no_configuration_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "WAXSEAL_"))]:
        if name not in ("WAXSEAL_SKIPPED", "WAXSEAL_WHEEL", "WAXSEAL_PROGRAM"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A key file, as `keys=` takes it."""
    return new_key(tmp_path_factory.mktemp("key") / "a.key")


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A key file that opens nothing of `key`."""
    return new_key(tmp_path_factory.mktemp("key") / "b.key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, for all that a test writes and counts."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@dataclass(frozen=True)
class Sealed:
    """A sealed file, its content, and its key."""

    path: Path
    content: bytes
    key: str


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, key: str) -> Sealed:
    """A sealed file of several parts. Tests only read it."""
    folder = tmp_path_factory.mktemp("sealed")
    content = contents(5 * (1 << 20) + 12345)
    (folder / "content").write_bytes(content)
    wax.encrypt_file(folder / "content", folder / "content.wax", keys=[key], labels={"name": "content"})
    return Sealed(folder / "content.wax", content, key)


@dataclass(frozen=True)
class Cloud:
    """KMS, STS and S3 on 127.0.0.1."""

    url: str

    def session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )

    def client(self, service: str, **more: Any) -> Any:
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        return self.session().client(service, endpoint_url=self.url, config=config, **more)

    def uploads(self, bucket: str) -> list[str]:
        """The ids of the unfinished uploads."""
        found = self.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [upload["UploadId"] for upload in found]

    def create_key(self, **more: str) -> str:
        """A new key in KMS; its ARN."""
        arn: str = self.client("kms").create_key(**more)["KeyMetadata"]["Arn"]
        return arn

    def alias(self, name: str, arn: str) -> str:
        self.client("kms").create_alias(AliasName=f"alias/{name}", TargetKeyId=arn)
        return f"alias/{name}"

    def environment(self) -> dict[str, str]:
        """What a process needs to find this cloud."""
        return CREDENTIALS | {"AWS_ENDPOINT_URL": self.url}


@pytest.fixture(scope="session")
def moto() -> Iterator[Cloud]:
    """One emulator for all tests."""
    with emulator("moto") as url:
        yield Cloud(url)


@pytest.fixture(scope="session")
def small_kms() -> Iterator[Cloud]:
    """A KMS with keys that moto does not have: ML-KEM, and RSA that decrypts."""
    with emulator("small_kms") as url:
        yield Cloud(url)


@pytest.fixture
def cloud(moto: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The emulator, and an environment that leads to it."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    return moto


@pytest.fixture
def bucket(cloud: Cloud, request: pytest.FixtureRequest) -> str:
    """A bucket of this test's own."""
    name = f"test-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**9}"
    cloud.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name
