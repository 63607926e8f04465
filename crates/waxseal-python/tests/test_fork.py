"""After a fork, the child works: with local keys, with KMS, with S3, and whatever the parent has used before."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cloud, Sealed
from support import MIB, PATIENCE, contents, everything, names_in, plaintext_of, set_environment, task

import pywaxseal as wax

# Python 3.12 warns of a fork in a process with threads. That is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` is true in a forked child. A child that hangs is killed by its alarm."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE)
            code = 0 if work() else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status == 0


def test_a_forked_child_works_after_the_parent_worked(folder: Path, key: str) -> None:
    assert everything(str(folder), "before", key)
    assert in_child(lambda: everything(str(folder), "child", key))
    assert everything(str(folder), "after", key)


def test_a_grandchild_works(folder: Path, key: str) -> None:
    assert everything(str(folder), "before", key)
    assert in_child(
        lambda: everything(str(folder), "child", key) and in_child(lambda: everything(str(folder), "grandchild", key))
    )


def test_a_fork_while_a_thread_works(folder: Path, key: str) -> None:
    """The child has a copy of every lock that the thread holds at that moment."""
    import threading

    end = threading.Event()
    turns = 0

    def work() -> None:
        nonlocal turns
        while not end.is_set():
            everything(str(folder), f"thread{turns}", key)
            turns += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(8):
            assert in_child(lambda number=number: everything(str(folder), f"child{number}", key)), number
    finally:
        end.set()
        thread.join()
    assert turns


def test_a_reader_from_before_the_fork_works_in_both(sealed: Sealed) -> None:
    """The child has its own position: a reader reads at offsets, and shares none with its parent."""
    with wax.open(sealed.path, keys=sealed.key) as file:
        assert file.read(10) == sealed.content[:10]

        def child() -> bool:
            ok = file.read(10) == sealed.content[10:20]
            file.seek(3 * MIB)
            return ok and file.read(10) == sealed.content[3 * MIB : 3 * MIB + 10] and file.seek(0) == 0

        assert in_child(child)
        assert file.read() == sealed.content[10:]


def test_a_reader_of_an_object_from_before_the_fork_says_so(cloud: Cloud, bucket: str, key: str) -> None:
    """Its connections and threads are the parent's."""
    url, content = f"s3://{bucket}/x", contents(6 * MIB)
    with wax.open(url, "wb", keys=key) as file:
        file.write(content)
    with wax.open(url, keys=key) as file:
        assert file.read(10) == content[:10]

        def child() -> bool:
            try:
                file.seek(5 * MIB)
                return file.read(10) == content[5 * MIB : 5 * MIB + 10]
            except wax.Error as error:
                return error.exit_code in (2, 7)

        assert in_child(child)
        assert file.read() == content[10:]


def test_ranges_and_a_sealer_from_before_the_fork(sealed: Sealed) -> None:
    whole = sealed.path.read_bytes()
    ranges = wax.Ranges(len(whole), lambda start, end: whole[start:end], keys=sealed.key)
    assert ranges.read_range(0, 10) == sealed.content[:10]
    assert in_child(lambda: ranges.read_range(MIB, 3 * MIB) == sealed.content[MIB : 3 * MIB])


def test_two_processes_never_continue_one_sealing(folder: Path, key: str) -> None:
    """Two continuations of one sealed file would use one nonce for two contents."""
    sealer = wax.Sealer(keys=key)
    sealer.push(contents(MIB))

    def child() -> bool:
        for call in (lambda: sealer.push(contents(MIB, "other")), sealer.finish):
            try:
                call()
            except wax.Error:
                continue
            return False
        return True

    assert in_child(child)
    sealer.push(b"parent")
    sealer.finish()
    file = wax.open(folder / "x.wax", "wb", keys=key)
    file.write(contents(MIB))

    def writes() -> bool:
        try:
            file.write(contents(MIB, "other"))
        except wax.Error:
            return True
        return False

    assert in_child(writes)
    file.write(b"parent")
    file.close()
    assert plaintext_of(folder / "x.wax", key) == contents(MIB) + b"parent"


def test_kms_works_in_a_child(folder: Path, cloud: Cloud) -> None:
    name = cloud.alias(f"fork-{os.getpid()}", cloud.create_key())
    assert everything(str(folder), "before", name)
    assert in_child(lambda: everything(str(folder), "child", name))
    assert everything(str(folder), "after", name)


def test_the_callers_own_client_works_in_a_child(folder: Path, cloud: Cloud) -> None:
    arn = cloud.create_key()
    client = cloud.client("kms")
    with wax.open(folder / "x.wax", "wb", keys=arn, kms=client) as file:
        file.write(b"content")

    def child() -> bool:
        with wax.open(folder / "x.wax", keys=arn, kms=cloud.client("kms")) as file:
            return file.read() == b"content"

    assert in_child(child)


def test_s3_works_in_a_child(cloud: Cloud, bucket: str, key: str) -> None:
    content = contents(6 * MIB)

    def work(name: str) -> bool:
        url = f"s3://{bucket}/{name}"
        with wax.open(url, "wb", keys=key) as file:
            file.write(content)
        with wax.open(url, keys=key) as file:
            file.seek(MIB)
            return file.read() == content[MIB:]

    assert work("before")
    assert in_child(lambda: work("child"))
    assert work("after")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(folder: Path, key: str, method: str) -> None:
    assert everything(str(folder), "before", key)
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        jobs = [(str(folder), f"job{number}", key) for number in range(4)]
        assert pool.map_async(task, jobs).get(PATIENCE) == [True] * 4
    assert len([name for name in names_in(folder) if name.startswith("job")]) == 16


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_with_kms(folder: Path, cloud: Cloud, method: str) -> None:
    name = cloud.alias(f"pool-{method}-{os.getpid()}", cloud.create_key())
    assert everything(str(folder), "before", name)
    context = multiprocessing.get_context(method)
    # The server of forkserver may be older than the settings of this test.
    with context.Pool(2, initializer=set_environment, initargs=(cloud.environment(),)) as pool:
        jobs = [(str(folder), f"job{number}", name) for number in range(4)]
        assert pool.map_async(task, jobs).get(PATIENCE) == [True] * 4
