"""The file system shows plaintext: names, sizes, ranges, files, other processes, and objects that change."""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from lake import Bucket, CountingFileSystem, Store

import pywaxseal as wax
from pywaxseal.fs import ReplacedError, SealedFile, WaxsealFileSystem

pytestmark = pytest.mark.engines
SIZES = [0, 1, 16383, 16384, 16385, 70_000, 300_000]
BIG = random.Random(1).randbytes(40_000_000)


def body(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def written(store: Store, name: str, content: bytes) -> str:
    store.fs.makedirs(store.folder, exist_ok=True)
    path = f"{store.folder}/{name}"
    store.fs.pipe_file(path, content)
    return path


def memory(key: Any, **more: Any) -> WaxsealFileSystem:
    return WaxsealFileSystem(target_protocol="memory", keys=[key], **more)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back(store: Store, size: int) -> None:
    path = written(store, "a.bin", body(size))
    assert store.fs.cat_file(path) == body(size)
    assert store.fs.size(path) == size
    assert store.fs.info(path)["sealed_size"] == store.inner.size(path) > size
    with store.fs.open(path) as file:
        assert file.read() == body(size) and file.size == size


def test_a_large_object_comes_back_through_many_requests(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(BIG)
    path = written(store, "first", b"")
    store.fs.put_file(str(tmp_path / "in"), path)
    assert store.fs.cat_file(path) == BIG
    store.fs.get_file(path, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == BIG
    with store.fs.open(path) as file:
        assert file.read(30_000_000) == BIG[:30_000_000] and file.read() == BIG[30_000_000:]


def test_ranges_count_as_slices_do(store: Store) -> None:
    content = body(100_000)
    path = written(store, "a", content)
    bounds = [(None, None), (0, 10), (-10, None), (99_990, 200_000), (16_380, 16_390), (5, 5), (10, 5), (-20, -10), (None, 7)]
    for start, end in bounds:
        assert store.fs.cat_file(path, start=start, end=end) == content[start:end], (start, end)
    starts, ends = map(list, zip(*bounds, strict=True))
    assert store.fs.cat_ranges([path] * len(bounds), starts, ends) == [content[a:b] for a, b in bounds]


def test_one_call_for_many_ranges_says_which_failed(store: Store) -> None:
    path = written(store, "a", body(1000))
    store.inner.pipe_file(f"{store.folder}/plain", b"not sealed at all" * 1000)
    found = store.fs.cat_ranges([path, f"{store.folder}/plain", f"{store.folder}/none", path], [0, 0, 0, 5], [5, 5, 5, 9])
    assert found[0] == body(1000)[:5] and found[3] == body(1000)[5:9]
    assert isinstance(found[1], wax.FormatError) and isinstance(found[2], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        store.fs.cat_ranges([f"{store.folder}/none"], [0], [5], on_error="raise")


def test_a_file_reads_as_a_plain_one_does(store: Store) -> None:
    content = body(300_000)
    path = written(store, "a", content)
    dice, plain = random.Random(3), io.BytesIO(content)
    with store.fs.open(path, block_size=50_000) as file:
        for _ in range(300):
            if dice.random() < 0.4:
                place = dice.choice([(dice.randrange(310_000), 0), (-dice.randrange(1000), 2)])
                assert file.seek(*place) == plain.seek(*place)
            size = dice.choice([0, 1, 100, 5_000, 100_000, -1])
            assert file.read(size) == plain.read(size) and file.tell() == plain.tell()


def test_lines_text_and_compression(store: Store) -> None:
    store.fs.makedirs(store.folder, exist_ok=True)
    lines = [f"line {number} ä\n" for number in range(5000)]
    for name, compression in (("a.txt", None), ("a.txt.gz", "infer")):
        path = f"{store.folder}/{name}"
        with store.fs.open(path, "w", encoding="utf-8", compression=compression) as out:
            out.writelines(lines)
        with store.fs.open(path, "r", encoding="utf-8", compression=compression) as file:
            assert list(file) == lines
    with store.fs.open(f"{store.folder}/a.txt", "rb") as file:
        assert [line.decode() for line in file] == lines
    assert store.fs.read_text(f"{store.folder}/a.txt", encoding="utf-8") == "".join(lines)


def test_listings_show_the_size_of_the_plaintext(store: Store) -> None:
    for number in range(5):
        written(store, f"{number}.parquet", body(number * 1000))
    store.inner.pipe_file(f"{store.folder}/_SUCCESS", b"")
    shown = {entry["name"].rsplit("/")[-1]: entry["size"] for entry in store.fs.ls(store.folder, detail=True)}
    assert shown == {f"{number}.parquet": number * 1000 for number in range(5)} | {"_SUCCESS": None}
    found = store.fs.find(store.folder, detail=True)
    assert {entry["size"] for entry in found.values()} == {0, 1000, 2000, 3000, 4000, None}
    names = store.fs.glob(f"{store.folder}/*.parquet")
    assert names == [f"{store.folder}/{number}.parquet" for number in range(5)]
    assert store.fs.glob(f"{store.folder}/[34].parquet", detail=True)[names[4]]["size"] == 4000
    assert store.fs.sizes(names) == [0, 1000, 2000, 3000, 4000]
    assert store.fs.du(f"{store.folder}/4.parquet") == 4000
    assert [len(files) for _, _, files in store.fs.walk(store.folder)] == [6]


def test_a_listing_of_names_opens_nothing(lake_key: str) -> None:
    fs = WaxsealFileSystem(target_protocol="counting", keys=[lake_key], cache_entries=0)
    fs.pipe({f"/lake/{number}": body(9) for number in range(5)})
    CountingFileSystem.fetched.clear()
    assert len(fs.ls("/lake", detail=False)) == len(fs.find("/lake")) == len(fs.glob("/lake/*")) == 5
    assert fs.exists("/lake/1") and fs.isfile("/lake/1") and fs.isdir("/lake") and not fs.exists("/lake/9")
    assert not CountingFileSystem.fetched
    assert fs.info("/lake/1")["size"] == 9 and CountingFileSystem.fetched


def test_names_and_copies(store: Store) -> None:
    path = written(store, "a", b"content")
    other, third = f"{store.folder}/b", f"{store.folder}/c"
    store.fs.copy(path, other)
    store.fs.mv(other, third)
    assert not store.fs.exists(other) and store.fs.cat_file(third) == b"content"
    assert store.fs.modified(path) == store.inner.modified(path)
    assert store.fs.checksum(path) == store.inner.checksum(path)
    store.fs.rm(path)
    for act in (store.fs.cat_file, store.fs.info, store.fs.open):
        with pytest.raises(FileNotFoundError):
            act(path)
    store.fs.touch(path)
    assert store.fs.info(path)["size"] == 0


def test_folders_travel_both_ways(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (tmp_path / "in" / name).write_bytes(name.encode())
    store.fs.put(str(tmp_path / "in"), store.folder, recursive=True)
    store.fs.get(store.folder, str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out/deep/b").read_bytes() == b"deep/b" and (tmp_path / "out/a").read_bytes() == b"a"


def test_a_download_that_fails_changes_nothing(store: Store, tmp_path: Path) -> None:
    path = written(store, "a", BIG[:20_000_000])
    sealed = bytearray(store.inner.cat_file(path))
    sealed[-1_000_000] ^= 1
    store.inner.pipe_file(path, bytes(sealed))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_bytes(b"before")
    with pytest.raises(wax.TamperedError, match="a: chunk .* does not authenticate"):
        store.fs.get_file(path, str(tmp_path / "out/a"))
    assert os.listdir(tmp_path / "out") == ["a"] and (tmp_path / "out/a").read_bytes() == b"before"


def test_chained_urls(store: Store) -> None:
    name = store.inner.protocol if isinstance(store.inner.protocol, str) else store.inner.protocol[0]
    url = f"waxseal::{name}://{store.folder.lstrip('/') if name == 'memory' else store.folder}/a.txt"
    options = {"waxseal": {"keys": [store.key]}, name: dict(store.inner.storage_options)}
    with fsspec.open(url, "w", **options) as out:
        out.write("plain")
    with fsspec.open(url, "r", **options) as file:
        assert file.read() == "plain"
    assert store.inner.size(f"{store.folder}/a.txt") > 1000
    first, _ = fsspec.url_to_fs(url, **options)
    second, _ = fsspec.url_to_fs(url + ".b", **options)
    assert first is second, "one file system for all objects, so that it knows the headers of all"


def test_a_file_stays_with_the_object_that_was_opened(store: Store) -> None:
    path = written(store, "a", body(3_000_000, 1))
    with store.fs.open(path, cache_type="none") as file:
        assert file.read(10) == body(3_000_000, 1)[:10]
        store.fs.pipe_file(path, body(3_000_000, 2))
        if isinstance(store.inner, fsspec.get_filesystem_class("file")):
            assert file.read() == body(3_000_000, 1)[10:]
        else:
            with pytest.raises(ReplacedError, match="was replaced by another one while it was read"):
                file.read()
            store.fs.rm(path)
            with pytest.raises((ReplacedError, FileNotFoundError)):
                file.read(5)


def test_a_call_for_a_range_takes_the_object_of_now(store: Store) -> None:
    path = written(store, "a", body(200_000, 1))
    other = WaxsealFileSystem(fs=store.inner, keys=[store.key], skip_instance_cache=True)
    for round_, size in enumerate([200_000, 10, 0, 500_000, 200_000]):
        other.pipe_file(path, body(size, round_))
        assert store.fs.cat_file(path) == body(size, round_)
        other.pipe_file(path, body(size, 100 + round_))
        assert store.fs.cat_ranges([path, path], [0, 5], [5, 10]) == [body(size, 100 + round_)[a : a + 5] for a in (0, 5)]


def test_a_damaged_object_is_not_opened_for_each_range(lake_key: str) -> None:
    """Each opening can be a call of a key service, so whoever damages an object must not cause many."""
    fs = WaxsealFileSystem(target_protocol="counting", keys=[lake_key], skip_instance_cache=True)
    fs.pipe_file("/damaged", body(1_000_000))
    sealed = fs.fs.store["/damaged"]
    sealed.seek(sealed.size - 500_000)
    sealed.write(b"damaged!")
    fs.info("/damaged")
    CountingFileSystem.fetched.clear()
    found = fs.cat_ranges(["/damaged"] * 50, [0] * 50, [1_000_000] * 50)
    assert all(isinstance(part, wax.TamperedError) for part in found)
    # An opening has two requests. There is one a second at most.
    assert 52 <= len(CountingFileSystem.fetched) < 75


@pytest.mark.parametrize(("size", "created"), [(10, None), (300_000, None), (300_000, 7.0)])
def test_a_store_that_shows_no_replacement(lake_key: str, size: int, created: float | None) -> None:
    options = {"created": created}
    fs, other = (
        WaxsealFileSystem(
            target_protocol="timeless", target_options=options, keys=[lake_key], skip_instance_cache=True
        )
        for _ in range(2)
    )
    path = f"/timeless-{size}-{created}"
    fs.pipe_file(path, body(size, 0))
    assert fs.cat_file(path, end=5) == body(size, 0)[:5]
    # A range reads the object of now, also through a header that was opened earlier.
    other.pipe_file(path, body(size, 1))
    assert fs.cat_file(path, end=5) == body(size, 1)[:5]
    # A file reports other bytes, and the next file opens them.
    other.pipe_file(path, body(size, 2))
    with fs.open(path) as file:
        with pytest.raises(wax.TamperedError):
            file.read(5)
    with fs.open(path) as file:
        assert file.read() == body(size, 2)


def test_an_old_listing_is_not_believed(s3: Bucket, lake_key: str) -> None:
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=[lake_key], skip_instance_cache=True)
    path = f"{s3.name}/a"
    fs.pipe_file(path, body(200_000))
    assert fs.ls(s3.name, detail=True)[0]["size"] == 200_000
    elsewhere = WaxsealFileSystem(target_protocol="memory", keys=[lake_key])
    elsewhere.pipe_file("/a", body(70_000, 1))
    s3.client.put_object(Bucket=s3.name, Key="a", Body=elsewhere.fs.cat_file("/a"))
    fs._headers.drop()
    assert fs.info(path)["size"] == 70_000
    with fs.open(path) as file:
        assert file.read() == body(70_000, 1)


def test_a_version_is_read_on_after_a_new_one_came(s3: Bucket, lake_key: str) -> None:
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    options = s3.options | {"version_aware": True}
    fs = WaxsealFileSystem(target_protocol="s3", target_options=options, keys=[lake_key])
    fs.pipe_file(f"{s3.name}/a", body(3_000_000, 1))
    with fs.open(f"{s3.name}/a", cache_type="none") as file:
        file.read(10)
        fs.pipe_file(f"{s3.name}/a", body(3_000_000, 2))
        assert file.read() == body(3_000_000, 1)[10:]
    assert fs.cat_file(f"{s3.name}/a", end=10) == body(3_000_000, 2)[:10]


def test_file_systems_and_files_travel_to_other_processes(store: Store) -> None:
    if store.inner.protocol == "memory":
        pytest.skip("each process has a memory of its own")
    path = written(store, "a", body(100_000))
    file = store.fs.open(path)
    file.seek(10)
    program = "import pickle, sys; fs, file, path = pickle.load(sys.stdin.buffer); a = file.read(5) + fs.cat_file(path, end=3)\n"
    program += "sys.stdout.buffer.write(a)"
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps((store.fs, file, path)), capture_output=True)
    assert done.stdout == body(100_000)[10:15] + body(100_000)[:3], done.stderr
    sent = pickle.dumps(file)
    store.fs.pipe_file(path, body(100_000, 2))
    with pytest.raises(ReplacedError):
        pickle.loads(sent)


def test_keys_do_not_travel(lake_key: str, tmp_path: Path, s3: Bucket) -> None:
    import boto3

    loaded = wax.KeyFile.load(lake_key.removeprefix("file:"))
    with pytest.raises(TypeError, match="name"):
        pickle.dumps(memory(loaded))
    with pytest.raises(TypeError, match="KMS client"):
        pickle.dumps(memory(lake_key, kms=boto3.client("kms")))
    assert pickle.loads(pickle.dumps(memory("alias/a", kms=wax.Kms(region="eu-west-1"))))
    fs = memory(lake_key)
    fs.pipe_file("/a", b"content")
    for held in (fs._headers, fs._headers.get("/a") or fs._pin("/a")[0]):
        with pytest.raises(TypeError, match="data key"):
            pickle.dumps(held)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(fs.open("/b", "wb"))


def test_two_passphrases_are_two_file_systems() -> None:
    one, two = memory(wax.Passphrase("one")), memory(wax.Passphrase("two"))
    assert one is not two and one != two and hash(one) != hash(two)
    one.pipe_file("/a", b"content")
    with pytest.raises(wax.NoKeyError):
        two.cat_file("/a")
    assert one.cat_file("/a") == b"content"


def test_no_more_headers_stay_than_agreed(lake_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = memory(lake_key, cache_entries=3, cache_seconds=50)
    paths = [f"/lake/{number}" for number in range(10)]
    fs.pipe({path: b"content" for path in paths})
    assert fs.sizes(paths) == [7] * 10 and len(fs._headers) == 3
    import pywaxseal._fs_read as reading

    now = reading.time.monotonic()
    monkeypatch.setattr(reading.time, "monotonic", lambda: now + 51)
    assert fs._headers.get(paths[-1]) is None
    fs.info(paths[0])
    assert len(fs._headers) == 1


def test_a_forked_child_has_no_headers_and_works(store: Store) -> None:
    path = written(store, "a", body(100_000))
    store.fs.cat_ranges([path, path], [0, 5], [5, 9])
    assert len(store.fs._headers) >= 1
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        known = len(store.fs._headers)
        found = store.fs.cat_file(path, end=5)
        os.write(writing, bytes([known]) + found)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        assert answer.read() == bytes([0]) + body(100_000)[:5]
    assert os.waitpid(child, 0)[1] == 0


def test_threads_share_a_file_system(store: Store) -> None:
    content = body(1_000_000)
    path = written(store, "a", content)
    wrong: list[Any] = []

    def act(seed: int) -> None:
        dice = random.Random(seed)
        with store.fs.open(path) as file:
            for _ in range(20):
                start = dice.randrange(1_000_000)
                file.seek(start)
                if file.read(10_000) != content[start : start + 10_000] or store.fs.cat_file(path, start, start + 9) != content[start : start + 9]:
                    wrong.append(seed)

    threads = [threading.Thread(target=act, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_that_share_a_file_read_where_they_have_sought(store: Store) -> None:
    """DuckDB does so: two calls for each read, and nothing that keeps them together."""
    content = body(2_000_000)
    path = written(store, "a", content)
    wrong: list[int] = []
    with store.fs.open(path) as file:

        def act(seed: int) -> None:
            dice = random.Random(seed)
            for _ in range(60):
                start, size = dice.randrange(2_000_000), dice.choice([8, 5_000, 100_000])
                file.seek(start)
                time.sleep(0)
                if file.read(size) != content[start : start + size]:
                    wrong.append(start)

        threads = [threading.Thread(target=act, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        file.seek(10)
        parts: list[bytes] = []
        for size in (5, 5):
            other = threading.Thread(target=lambda size=size: parts.append(file.read(size)))
            other.start()
            other.join()
        assert b"".join(parts) + file.read(5) == content[10:25], "one after the other, they read on"


def test_demands_and_labels_by_path(lake_key: str) -> None:
    def by_name(path: str) -> dict[str, str]:
        return {"name": path.rsplit("/", 1)[-1]}

    fs = WaxsealFileSystem(target_protocol="memory", keys=[lake_key], labels=by_name)
    fs.pipe({"/lake/a": b"content of a", "/lake/b": b"content of b"})
    assert fs.cat_file("/lake/a") == b"content of a"
    fs.fs.cp_file("/lake/b", "/lake/a")
    with pytest.raises(wax.UnmetError):
        fs.cat_file("/lake/a")
    assert memory(lake_key).cat_file("/lake/a") == b"content of b"
    with pytest.raises(wax.UnmetError):
        memory(lake_key).cat_file("/lake/a", labels={"name": "a"})


def test_names_of_keys_in_kms(s3: Bucket) -> None:
    import boto3

    key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
    boto3.client("kms").create_alias(AliasName="alias/by-name", TargetKeyId=key)
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=["alias/by-name"])
    fs.pipe_file(f"{s3.name}/a", b"content")
    again: WaxsealFileSystem = pickle.loads(pickle.dumps(fs))
    assert again.cat_file(f"{s3.name}/a") == b"content"


def test_what_makes_no_sense_is_refused(lake_key: str) -> None:
    with pytest.raises(wax.UsageError, match="name the file system"):
        WaxsealFileSystem(keys=[lake_key])
    with pytest.raises(wax.UsageError, match="mode"):
        memory(lake_key).open("/a", "ab")
    with pytest.raises(wax.UsageError, match="synchronous"):
        WaxsealFileSystem(target_protocol="memory", asynchronous=True)
    fs = memory(lake_key)
    fs.pipe_file("/a", b"content")
    with pytest.raises(ValueError, match="closed"):
        file: SealedFile = fs.open("/a")
        file.close()
        file.read()
