"""Only a close without an exception writes an object."""

from __future__ import annotations

import contextlib
import gc
import io
import random
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import fsspec
import pytest
from lake import Bucket, Store

import pywaxseal as wax
from pywaxseal._fs_write import DISCARDS
from pywaxseal.fs import SealedFileWriter, WaxsealFileSystem

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore:.*not written")]
BIG = random.Random(2).randbytes(20_000_000)


class Broken(Exception):
    pass


@pytest.fixture(params=[b"small", BIG], ids=["small", "big"])
def content(request: pytest.FixtureRequest) -> bytes:
    found: bytes = request.param
    return found


def path_in(store: Store) -> str:
    store.fs.makedirs(store.folder, exist_ok=True)
    return f"{store.folder}/a.bin"


def nothing_there(store: Store, path: str) -> None:
    gc.collect()
    # Uploads that the collector found are aborted by another thread.
    DISCARDS.end()
    store.inner.invalidate_cache()
    assert not store.inner.exists(path)
    assert not store.inner.exists(store.folder) or store.inner.find(store.folder) == []


def test_a_with_block_that_fails_writes_nothing(store: Store, content: bytes) -> None:
    path = path_in(store)
    with pytest.raises(Broken), store.fs.open(path, "wb") as out:
        out.write(content)
        raise Broken
    nothing_there(store, path)


def test_an_open_file_that_fails_writes_nothing(store: Store, content: bytes) -> None:
    path = path_in(store)
    for mode in ("wb", "w"):
        for compression in (None, "gzip"):
            opened = fsspec.core.OpenFile(store.fs, path, mode, compression=compression)
            with pytest.raises(Broken), opened as out:
                out.write(content if mode == "wb" else "text")
                raise Broken
            nothing_there(store, path)


def test_text_and_compression_that_fail_write_nothing(store: Store) -> None:
    path = path_in(store)
    for mode, compression in (("w", None), ("w", "gzip"), ("wb", "gzip"), ("wb", "bz2")):
        with pytest.raises(Broken), store.fs.open(path, mode, compression=compression) as out:
            out.write("text" if mode == "w" else b"bytes")
            raise Broken
        nothing_there(store, path)


def test_a_close_on_the_way_out_of_an_exception_writes_nothing(store: Store, content: bytes) -> None:
    path = path_in(store)
    out = store.fs.open(path, "wb")
    with pytest.raises(Broken), pytest.warns(RuntimeWarning, match="not written"):
        try:
            out.write(content)
            raise Broken
        finally:
            out.close()
    nothing_there(store, path)


def test_a_close_in_a_handler_that_was_there_before_writes(store: Store, content: bytes) -> None:
    path = path_in(store)
    try:
        raise Broken
    except Broken:
        with store.fs.open(path, "wb") as out:
            out.write(content)
    assert store.fs.cat_file(path) == content
    out = store.fs.open(path, "wb")
    try:
        next(iter([]))
    except StopIteration:
        out.close()
    assert store.fs.cat_file(path) == b""


def test_an_explicit_commit_writes(store: Store, content: bytes) -> None:
    path = path_in(store)
    out: SealedFileWriter = store.fs.open(path, "wb")
    try:
        raise Broken
    except Broken:
        out.write(content)
        out.commit()
    assert store.fs.cat_file(path) == content


def test_what_the_collector_finds_writes_nothing(store: Store, content: bytes) -> None:
    path = path_in(store)
    makers: list[Any] = [
        lambda: store.fs.open(path, "wb"),
        lambda: io.BufferedWriter(store.fs.open(path, "wb")),
        lambda: store.fs.open(path, "wb", compression="gzip"),
    ]
    for make in makers:
        out = make()
        out.write(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del out
            gc.collect()
        nothing_there(store, path)
    text = store.fs.open(path, "w")
    text.write("text")
    del text
    nothing_there(store, path)


def test_the_collector_may_run_inside_a_pool_of_threads(lake_key: str) -> None:
    """The collector finds uploads while a pool of threads is in use, and holds its locks."""
    program = """
        import gc, sys, warnings
        from pywaxseal import _fs_read, _fs_write
        from pywaxseal.fs import WaxsealFileSystem

        class Upload:
            def discard(self): aborted.append(self)

        aborted = []
        warnings.simplefilter("ignore")
        _fs_write.upload_of = lambda *_: Upload()
        fs = WaxsealFileSystem(target_protocol="memory", keys=[sys.argv[1]])
        gc.set_threshold(5)
        for number in range(300):
            out = fs.open(f"/a{number}", "wb")
            out._sink._begin()
            out.cycle = out
            del out
            _fs_read.POOL.reset()
            _fs_read.POOL.each(len, ["a", "b"])
        gc.collect()
        _fs_write.DISCARDS.end()
        print(len(aborted))
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), lake_key]
    done = subprocess.run(arguments, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "300\n"), done.stderr


def test_an_interpreter_that_ends_writes_nothing(lake_key: str, tmp_path: Path, s3: Bucket) -> None:
    program = """
        import sys, fsspec
        from pywaxseal.fs import WaxsealFileSystem
        protocol, path, key, options, end = sys.argv[1:]
        fs = WaxsealFileSystem(target_protocol=protocol, target_options=eval(options), keys=[key])
        out = fs.open(path, "wb")
        out.write(bytes(20_000_000))
        text = fs.open(path + ".txt", "w")
        text.write("text")
        held = [out, text]
        held.append(held)
        if end == "raise": raise SystemExit(3)
    """
    for protocol, folder, options in (("file", str(tmp_path), {}), ("s3", s3.name, s3.options)):
        for end in ("fall", "raise"):
            arguments = [protocol, f"{folder}/a", lake_key, repr(options), end]
            done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), *arguments], timeout=120, capture_output=True)
            assert done.returncode == (3 if end == "raise" else 0), done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "Contents" not in s3.client.list_objects_v2(Bucket=s3.name)
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.name)


def test_an_upload_that_is_given_up_leaves_no_parts(s3: Bucket, lake_key: str) -> None:
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=[lake_key])
    path = f"{s3.name}/a"
    with pytest.raises(Broken), fs.open(path, "wb", block_size=5 * 2**20) as out:
        out.write(BIG)
        assert s3.client.list_multipart_uploads(Bucket=s3.name)["Uploads"]
        raise Broken
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.name)
    out = fs.open(path, "wb", block_size=5 * 2**20)
    out.write(BIG)
    del out
    nothing_there(Store(fs, fs.fs, s3.name, lake_key), path)
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.name)
    with fs.open(path, "wb", block_size=5 * 2**20) as out:
        out.write(BIG)
        assert not fs.fs.exists(path)
    assert fs.cat_file(path) == BIG


def test_a_failure_leaves_the_object_that_was_there(store: Store, content: bytes) -> None:
    path = path_in(store)
    store.fs.pipe_file(path, b"before")
    with pytest.raises(Broken), store.fs.open(path, "wb") as out:
        out.write(content)
        raise Broken
    assert store.fs.cat_file(path) == b"before"


def test_exclusive_creation(store: Store, content: bytes) -> None:
    path = path_in(store)
    with store.fs.open(path, "xb") as out:
        out.write(content)
    with pytest.raises(FileExistsError), store.fs.open(path, "xb") as out:
        out.write(b"other")
    assert store.fs.cat_file(path) == content


def test_a_transaction_writes_all_or_nothing(store: Store, content: bytes) -> None:
    path_in(store)
    paths = [f"{store.folder}/{name}" for name in "ab"]
    with pytest.raises(Broken), store.fs.transaction:
        for path in paths:
            with store.fs.open(path, "wb") as out:
                out.write(content)
        raise Broken
    nothing_there(store, paths[0])
    with store.fs.transaction:
        for path in paths:
            with store.fs.open(path, "wb") as out:
                out.write(content)
            assert not store.inner.exists(path)
    assert [store.fs.cat_file(path) for path in paths] == [content, content]
    with pytest.raises(wax.UsageError, match="closed"), store.fs.transaction:
        left = store.fs.open(f"{store.folder}/c", "wb")
        left.write(content)
    assert not store.fs.exists(f"{store.folder}/c")


def test_a_write_that_fails_ends_the_file(lake_key: str, s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = WaxsealFileSystem(target_protocol="s3", target_options=s3.options, keys=[lake_key])
    out = fs.open(f"{s3.name}/a", "wb", block_size=5 * 2**20)
    out.write(BIG)
    monkeypatch.setattr(type(out._sink._upload), "_upload_chunk", lambda *_, **__: (_ for _ in ()).throw(OSError("refused")))
    with pytest.raises(OSError, match="refused"):
        out.write(BIG)
    with pytest.raises(ValueError, match="closed"):
        out.write(b"more")
    out.close()
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.name)
    assert "Contents" not in s3.client.list_objects_v2(Bucket=s3.name)


def test_threads_share_a_file(store: Store) -> None:
    """Each `write` is one step, so every piece is there once and whole."""
    path, size = path_in(store), 50_000
    pieces = [bytes([number]) * size for number in range(120)]
    failed: list[BaseException] = []
    out = store.fs.open(path, "wb")

    def write(mine: list[bytes]) -> None:
        try:
            for piece in mine:
                out.write(piece)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(pieces[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert out.tell() == len(pieces) * size
    out.close()
    content = store.fs.cat_file(path)
    assert sorted(content[at : at + size] for at in range(0, len(content), size)) == pieces


def test_a_with_that_ends_well_writes_whatever_is_handled_around_it(store: Store) -> None:
    path = path_in(store)
    out = store.fs.open(path, "wb")
    try:
        raise Broken
    except Broken:
        with out:
            out.write(b"the end")
    assert store.fs.cat_file(path) == b"the end"


@pytest.mark.parametrize("what", ["write", "close", "commit"])
def test_a_call_in_the_middle_of_a_write_is_refused(store: Store, what: str) -> None:
    """A signal handler runs between any two steps of Python code. It must not mix what is written."""
    path, size = path_in(store), 300_000
    outcomes: list[str] = []

    def act(*_: object) -> None:
        try:
            getattr(out, what)(*([b"x" * size] if what == "write" else []))
            outcomes.append("done")
        except RuntimeError:
            outcomes.append("refused")

    before = signal.signal(signal.SIGALRM, act)
    try:
        while outcomes.count("refused") < 5:
            out = store.fs.open(path, "wb")
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            written = 0
            with contextlib.suppress(ValueError):
                for _ in range(40):
                    written += out.write(b"y" * size)
            signal.setitimer(signal.ITIMER_REAL, 0)
            out.close()
            content = store.fs.cat_file(path)
            assert len(content) % size == 0 and content.count(b"y") == written
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_close_that_waits_for_a_failing_write_writes_nothing(store: Store) -> None:
    path = path_in(store)
    out = store.fs.open(path, "wb")
    out.write(b"first")
    begun, goes_on = threading.Event(), threading.Event()

    def fails(_: object) -> None:
        begun.set()
        goes_on.wait(60)
        raise Broken

    out._sink.write = fails
    raised: list[type[BaseException]] = []

    def run(act: Any) -> None:
        try:
            act()
        except BaseException as error:
            raised.append(type(error))

    threads = [threading.Thread(target=run, args=(act,)) for act in (lambda: out.write(b"second"), out.close)]
    threads[0].start()
    begun.wait(60)
    threads[1].start()
    goes_on.set()
    for thread in threads:
        thread.join()
    # It is written by neither, whichever comes first.
    assert Broken in raised and (len(raised) == 1 or wax.UsageError in raised)
    nothing_there(store, path)


@pytest.mark.parametrize("end", ["commit", "with", "text", "gzip"])
def test_an_end_that_is_meant_writes_while_an_exception_is_handled(store: Store, end: str) -> None:
    path = path_in(store)
    if end == "commit":
        with contextlib.suppress(Broken), contextlib.ExitStack() as stack:
            out = store.fs.open(path, "wb")
            stack.callback(out.commit)
            out.write(b"the end")
            raise Broken
    else:
        mode, more = ("w", {}) if end == "text" else ("wb", {"compression": "gzip"} if end == "gzip" else {})
        out = store.fs.open(path, mode, **more)
        try:
            raise Broken
        except Broken:
            with out:
                out.write("the end" if end == "text" else b"the end")
    with store.fs.open(path, "rb", compression="gzip" if end == "gzip" else None) as file:
        assert file.read() == b"the end"


@pytest.mark.parametrize("count", [1, 100])
def test_a_write_that_never_returns_does_not_stop_the_end(lake_key: str, count: int) -> None:
    """All files together are waited for as long as one: two seconds."""
    program = """
        import sys, threading, time
        from pywaxseal.fs import WaxsealFileSystem

        fs = WaxsealFileSystem(target_protocol="memory", keys=[sys.argv[1]])
        begun = threading.Semaphore(0)
        def stuck(data):
            begun.release()
            time.sleep(3600)
        files = [fs.open(f"/a{number}", "wb") for number in range(int(sys.argv[2]))]
        for file in files:
            file._sink.write = stuck
            threading.Thread(target=file.write, args=(b"content",), daemon=True).start()
        for file in files: begun.acquire()
        print("end", flush=True)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), lake_key, str(count)]
    done = subprocess.run(arguments, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
