"""The examples of docs/engines-python.md run, in their order. The one with Ray runs with the tests of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lake import Bucket, document, write_lake

import pywaxseal as wax
from pywaxseal.fs import WaxsealFileSystem

pytestmark = pytest.mark.engines


@pytest.fixture
def lake(s3: Bucket) -> Iterator[Bucket]:
    """What the examples expect: a bucket with a lake, and a key in KMS with an alias."""
    import boto3

    kms = boto3.client("kms")
    if "alias/lake" not in {found["AliasName"] for found in kms.list_aliases(Limit=1000)["Aliases"]}:
        kms.create_alias(AliasName="alias/lake", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    place = {"LocationConstraint": "eu-west-1"}
    s3.client.create_bucket(Bucket="bucket", CreateBucketConfiguration=place)
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=["alias/lake"])
    write_lake(fs, "bucket/lake", 2)
    fs.mv("bucket/lake/part-000.parquet", "bucket/lake/a.parquet")
    yield s3
    fs.rm("bucket/lake", recursive=True)
    s3.client.delete_bucket(Bucket="bucket")


def test_the_examples_of_the_document(lake: Bucket) -> None:
    names: dict[str, Any] = {}
    ran = 0
    for example in document():
        if "import ray" not in example:
            exec(example, names)
            ran += 1
    assert ran >= 4
    # The label that the last one demands is in no file that the ones before have written.
    with pytest.raises(wax.UnmetError):
        names["fs"].cat_file("bucket/lake/a.parquet")
    names["fs"].pipe_file("bucket/lake/c", b"content")
    assert names["fs"].cat_file("bucket/lake/c") == b"content"
    names["fs"].copy("bucket/lake/c", "bucket/lake/d")
    with pytest.raises(wax.UnmetError):
        names["fs"].cat_file("bucket/lake/d")
