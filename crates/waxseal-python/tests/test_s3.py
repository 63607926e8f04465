"""Objects in S3: the same files, which appear only when they are complete."""

from __future__ import annotations

import gc
import io
from pathlib import Path
from typing import Any

import pytest
from conftest import CREDENTIALS, REGION, Cloud
from support import MIB, contents, run

import pywaxseal as wax


def keys_in(cloud: Cloud, bucket: str) -> list[str]:
    listed: list[dict[str, Any]] = cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    return [found["Key"] for found in listed]


@pytest.mark.parametrize("size", [0, 1, MIB + 1, 20 * MIB + 3])
def test_round_trip(cloud: Cloud, bucket: str, key: str, size: int) -> None:
    url, content = f"s3://{bucket}/a folder/ä.parquet", contents(size)
    with wax.open(url, "wb", keys=key) as file:
        assert file.name == url
        file.write(content)
        assert keys_in(cloud, bucket) == []
    assert keys_in(cloud, bucket) == ["a folder/ä.parquet"]
    assert cloud.uploads(bucket) == []
    with wax.open(url, keys=key) as file:
        assert file.size == size and file.name == url
        assert file.read() == content
        for place in (0, size // 2, max(size - 10, 0)):
            file.seek(place)
            assert file.read(10) == content[place : place + 10]
    wax.verify(url, keys=key)
    wax.verify(url, keys=key, quick=True)
    assert wax.inspect(url).slots[0].kind == "keyfile"


def test_settings_instead_of_the_environment(
    moto: Cloud, bucket: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_REGION")
    s3 = wax.S3(region=REGION, endpoint_url=moto.url)
    with wax.open(f"s3://{bucket}/x", "wb", keys=key, s3=s3) as file:
        file.write(b"content")
    with wax.open(f"s3://{bucket}/x", keys=key, s3=s3) as file:
        assert file.read() == b"content"


def test_a_program_that_reads_a_file_reads_the_object(cloud: Cloud, bucket: str, folder: Path, key: str) -> None:
    content = contents(MIB)
    (folder / "x").write_bytes(content)
    wax.encrypt_file(folder / "x", folder / "x.wax", keys=key)
    cloud.client("s3").upload_file(str(folder / "x.wax"), bucket, "x.wax")
    with wax.open(f"s3://{bucket}/x.wax", keys=key) as file:
        assert file.read() == content


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("size", [10, 20 * MIB])
@pytest.mark.parametrize("existing", [False, True])
def test_no_object_without_a_commit(cloud: Cloud, bucket: str, key: str, size: int, existing: bool) -> None:
    url, content = f"s3://{bucket}/x", contents(size)
    before = []
    if existing:
        cloud.client("s3").put_object(Bucket=bucket, Key="x", Body=b"old")
        before = ["x"]
    with pytest.raises(ZeroDivisionError), wax.open(url, "wb", keys=key) as file:
        file.write(content)
        raise ZeroDivisionError
    file = wax.open(url, "wb", keys=key)
    file.write(content)
    file.discard()
    outer = io.BufferedWriter(wax.open(url, "wb", keys=key))  # type: ignore[arg-type]
    outer.write(content)
    del outer
    gc.collect()
    assert keys_in(cloud, bucket) == before
    assert cloud.uploads(bucket) == [], "an upload that nobody completes costs money"
    if existing:
        assert cloud.client("s3").get_object(Bucket=bucket, Key="x")["Body"].read() == b"old"


@pytest.mark.parametrize(
    "end", ["", "sys.exit(0)", "raise RuntimeError", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_the_end_of_a_process_makes_no_object(cloud: Cloud, bucket: str, key: str, end: str) -> None:
    run(
        f"file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])\nfile.write(contents(20 * MIB))\nprint('ok')\n{end}",
        f"s3://{bucket}/x",
        key,
        env=cloud.environment(),
    )
    assert keys_in(cloud, bucket) == []
    if end in ("", "sys.exit(0)", "raise RuntimeError"):
        assert cloud.uploads(bucket) == []


def test_xb_refuses_an_existing_object(cloud: Cloud, bucket: str, key: str) -> None:
    url = f"s3://{bucket}/x"
    with wax.open(url, "xb", keys=key) as file:
        file.write(b"first")
    with pytest.raises(wax.ExistsError), wax.open(url, "xb", keys=key) as file:
        file.write(b"second")
    with wax.open(url, keys=key) as file:
        assert file.read() == b"first"
    with wax.open(url, "wb", keys=key) as file:
        file.write(b"third")
    with wax.open(url, keys=key) as file:
        assert file.read() == b"third"


def test_missing_objects_and_buckets(cloud: Cloud, bucket: str, key: str) -> None:
    for call in (wax.inspect, lambda url: wax.verify(url, keys=key), lambda url: wax.open(url, keys=key)):
        with pytest.raises(wax.NotFoundError):
            call(f"s3://{bucket}/missing")
        with pytest.raises(wax.IoError):
            call("s3://no-such-bucket-anywhere/x")
    for wrong in ("s3://", "s3://bucket", "s3://bucket/", "s3:///key"):
        with pytest.raises(wax.UsageError):
            wax.open(wrong, keys=key)


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(cloud: Cloud, bucket: str, key: str) -> None:
    """Never a mixture of two objects."""
    url = f"s3://{bucket}/x"
    with wax.open(url, "wb", keys=key) as file:
        file.write(contents(20 * MIB, "one"))
    with wax.open(url, keys=key) as reader:
        assert reader.read(10) == contents(10, "one")
        with wax.open(url, "wb", keys=key) as file:
            file.write(contents(20 * MIB, "two"))
        reader.seek(15 * MIB)
        with pytest.raises(wax.IoError):
            reader.read(10)


def test_an_altered_object(cloud: Cloud, bucket: str, key: str) -> None:
    url, client = f"s3://{bucket}/x", cloud.client("s3")
    with wax.open(url, "wb", keys=key) as file:
        file.write(contents(MIB))
    body = bytearray(client.get_object(Bucket=bucket, Key="x")["Body"].read())
    body[-MIB // 2] ^= 1
    client.put_object(Bucket=bucket, Key="x", Body=bytes(body))
    for call in (lambda: wax.verify(url, keys=key), lambda: wax.open(url, keys=key).read()):
        with pytest.raises(wax.TamperedError):
            call()
    client.put_object(Bucket=bucket, Key="x", Body=bytes(body[:-1000]))
    with pytest.raises(wax.TamperedError):
        wax.open(url, keys=key)


def test_a_label_binds_an_object_to_its_name(cloud: Cloud, bucket: str, key: str) -> None:
    """The recipe of the documents: an object that is copied over another is noticed."""
    names = ["2026/one.parquet", "2026/two.parquet"]
    for name in names:
        with wax.open(f"s3://{bucket}/{name}", "wb", keys=key, labels={"name": name}) as file:
            file.write(name.encode())
    client = cloud.client("s3")
    client.copy_object(Bucket=bucket, Key=names[1], CopySource={"Bucket": bucket, "Key": names[0]})
    with wax.open(f"s3://{bucket}/{names[1]}", keys=key) as file:
        assert file.read() == names[0].encode(), "without the demand, it is just another sealed file"
    with pytest.raises(wax.UnmetError):
        wax.open(f"s3://{bucket}/{names[1]}", keys=key, labels={"name": names[1]})


def test_rewrap_needs_a_store_that_checks_conditions(cloud: Cloud, bucket: str) -> None:
    """moto does not check them, so that a rewrap could lose the object of another writer. It is refused, and the object
    stays as it is. The tests of waxseal-aws-s3 rewrap in a store that checks them.
    """
    old, new = cloud.create_key(), cloud.create_key()
    url, content = f"s3://{bucket}/x", contents(MIB)
    with wax.open(url, "wb", keys=old) as file:
        file.write(content)
    (result,) = wax.rewrap([url], to=new)
    assert isinstance(result.error, wax.IoError) and not result.changed and result.path == url
    assert "conditions" in str(result.error)
    assert [slot.key_id for slot in wax.inspect(url).slots] == [old]
    assert cloud.uploads(bucket) == []
    with wax.open(url, keys=old) as file:
        assert file.read() == content


def test_no_credentials(moto: Cloud, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    with pytest.raises(wax.Error) as caught:
        wax.open("s3://bucket/x", keys=key, s3=wax.S3())
    assert caught.value.exit_code in (5, 7)
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
