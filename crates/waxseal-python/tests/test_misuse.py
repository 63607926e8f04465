"""What a program does by mistake, or in an order that nobody expected: each either works or says what is wrong."""

from __future__ import annotations

import copy
import ctypes
import errno
import functools
import gc
import io
import os
import pickle
import subprocess
import sys
import threading
import time
import types
import weakref
from collections import UserDict
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Sealed
from support import CHUNK, MIB, PATIENCE, close_while_others_read, contents, is_valid, names_in, plaintext_of, run_well

import pywaxseal as wax


def descriptors_of(path: Path) -> int:
    """How many descriptors of this process are of the file."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{number}") == str(path)
        except FileNotFoundError:
            pass
    return count


# --- closing ----------------------------------------------------------------------------------------------------------


def test_a_closed_reader_holds_nothing(sealed: Sealed) -> None:
    before = descriptors_of(sealed.path)
    file = wax.open(sealed.path, keys=sealed.key)
    raw = file.raw
    file.read(10)
    assert descriptors_of(sealed.path) == before + 1
    file.close()
    assert descriptors_of(sealed.path) == before, "the file is closed, and not only its object"
    assert not any(type(held).__module__ == "pywaxseal._native" for held in gc.get_referents(raw.__dict__) if held is not file.header)
    # What is known of the file stays known.
    assert (file.size, file.header.labels) == (len(sealed.content), {"name": "content"}) and file.key
    for act in (file.read, lambda: file.read_range(0, 1), raw.readall, lambda: raw.readinto(bytearray(1)), raw.tell):
        with pytest.raises(ValueError, match="closed"):
            act()  # type: ignore[operator]
    file.close()


def test_a_closed_pipe_is_closed(sealed: Sealed) -> None:
    """The other end of the pipe notices it, and is not left waiting."""
    reading, writing = os.pipe()
    told: list[bool] = []

    def write() -> None:
        left = memoryview(sealed.path.read_bytes())
        try:
            while left:
                left = left[os.write(writing, left) :]
        except BrokenPipeError:
            told.append(True)

    thread = threading.Thread(target=write)
    thread.start()
    file = wax.open(f"/proc/self/fd/{reading}", keys=sealed.key)
    os.close(reading)
    assert file.read(10) == sealed.content[:10]
    file.close()
    assert file.header.labels == {"name": "content"}
    thread.join(PATIENCE)
    os.close(writing)
    assert told == [True]


WRITER = """
import os, select, sys, time
pipe = os.open(sys.argv[2], os.O_WRONLY)
watch = select.poll()
watch.register(pipe, 0)
until, alone = time.monotonic() + 0.5, False
while time.monotonic() < until:
    alone = alone or bool(watch.poll(0))
with open(sys.argv[1], "rb") as file:
    left = memoryview(file.read())
try:
    while left:
        left = left[os.write(pipe, left) :]
except BrokenPipeError:
    pass
print(alone)
"""


def test_a_named_pipe_is_opened_once(folder: Path, sealed: Sealed) -> None:
    """Between two openings, its writer would have no reader, and a write would kill it."""
    os.mkfifo(folder / "pipe")
    command = [sys.executable, "-c", WRITER, sealed.path, folder / "pipe"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        with wax.open(folder / "pipe", keys=sealed.key) as file:
            assert file.read(10) == sealed.content[:10]
        out, _ = writer.communicate(timeout=PATIENCE)
    assert out == "False\n", "the writer was alone"


def test_a_close_while_another_thread_reads_is_a_close(sealed: Sealed) -> None:
    """Nothing but authentic bytes, or the word that the file is closed."""
    for turn in range(30):
        file = wax.open(sealed.path, keys=sealed.key)
        read = functools.partial(file.read_range, MIB, 4 * MIB)
        close_while_others_read(file, read, sealed.content[MIB : 4 * MIB], 0.001 * (turn % 5))


# --- a call in the middle of a call -----------------------------------------------------------------------------------


class Interfering(io.RawIOBase):
    """A target whose `write` does something else first, as a signal handler could."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act
        self.raised: BaseException | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        act, self.act = self.act, None
        if act is not None:
            try:
                act()
            except BaseException as error:
                self.raised = error
        return len(data)  # type: ignore[arg-type]


def test_a_close_in_the_middle_of_a_write_is_refused_and_loses_nothing(key: str) -> None:
    target = Interfering(lambda: file.close())
    file = wax.open(target, "wb", keys=key)
    file.write(bytes(9 * MIB))
    assert isinstance(target.raised, RuntimeError) and "reentrant" in str(target.raised)
    assert not file.closed
    file.write(b"more")
    file.close()


@pytest.mark.parametrize("what", ["write", "tell"])
def test_a_call_in_the_middle_of_a_write_is_refused(key: str, what: str) -> None:
    def act() -> None:
        if what == "write":
            file.write(b"in between")
        else:
            file.tell()

    target = Interfering(act)
    file = wax.open(target, "wb", keys=key)
    file.write(bytes(9 * MIB))
    assert isinstance(target.raised, RuntimeError)
    assert file.tell() == 9 * MIB
    file.discard()


def test_a_discard_in_the_middle_of_a_write_leaves_nothing(folder: Path, key: str) -> None:
    target = Interfering(lambda: file.discard())
    file = wax.open(target, "wb", keys=key)
    try:
        file.write(bytes(9 * MIB))
    except ValueError:
        pass
    assert target.raised is None and file.closed
    held = weakref.ref(target)
    target_of = [target]
    del target, target_of
    file._native.discard()
    gc.collect()
    assert held() is None, "the target is let go"


def test_a_size_may_be_any_index(sealed: Sealed) -> None:
    class Size:
        def __init__(self, size: int) -> None:
            self.size = size

        def __index__(self) -> int:
            return self.size

    for size in (-1, 0, 10, MIB):
        with wax.open(sealed.path, keys=sealed.key) as file:
            assert file.read(Size(size)) == sealed.content[: size if size >= 0 else None]  # type: ignore[arg-type]
    with wax.open(sealed.path, keys=sealed.key) as file, pytest.raises(TypeError):
        file.read(1.0)  # type: ignore[arg-type]


def test_a_long_read_near_the_last_position(sealed: Sealed) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file:
        file.seek(2**63 - 1000)
        assert file.read(300 * 1024) == file.read(100) == b""


@pytest.mark.parametrize("place", [0, 1000, 5 * MIB, 6 * MIB])
def test_a_long_read_ends_where_the_file_ends(sealed: Sealed, place: int) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file:
        file.seek(place)
        assert file.read(2 * MIB) == sealed.content[place : place + 2 * MIB]
        assert file.tell() == max(place, min(place + 2 * MIB, file.size))
        file.seek(place)
        assert file.read(1 << 60) == sealed.content[place:]
        assert file.tell() == max(place, file.size)


# --- the end of the interpreter ---------------------------------------------------------------------------------------


def test_many_files_that_are_in_use_are_waited_for_together() -> None:
    """Each of them would take two seconds, and all of them longer than this test waits."""
    out = run_well(
        """
        key = wax.KeyFile.generate()
        files = [wax.open(io.BytesIO(), "wb", keys=key) for _ in range(200)]
        held = threading.Event()
        def hold():
            for file in files: file._locked().acquire()
            held.set()
            time.sleep(3600)
        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        print("end", flush=True)
        """
    )
    assert out == "end\n"


def test_a_daemon_thread_that_writes_does_not_stop_the_end() -> None:
    out = run_well(
        """
        key = wax.KeyFile.generate()
        reading, writing = os.pipe()
        target = io.open(writing, "wb", buffering=0)
        file = wax.open(target, "wb", keys=key)
        def work():
            while True:
                file.write(bytes(MIB))
        threading.Thread(target=work, daemon=True).start()
        # The pipe is full, and nobody reads it.
        time.sleep(0.5)
        print("end", flush=True)
        """
    )
    assert out == "end\n"


# --- fork -------------------------------------------------------------------------------------------------------------


FORKS = """
import os, sys, threading, time
# It is called after the handler of pywaxseal, because it was registered before.
os.register_at_fork(before=lambda: time.sleep(0.02))
import importlib
import pywaxseal as wax
importlib.reload(wax._io)
key = wax.KeyFile.generate()
wax.open(sys.argv[1], "wb", keys=key).close()
end = threading.Event()
def work():
    while not end.is_set():
        wax.open(sys.argv[1], keys=key).close()
def fork():
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
workers = [threading.Thread(target=work) for _ in range(2)]
forks = [threading.Thread(target=fork) for _ in range(2)]
for thread in workers + forks: thread.start()
for thread in forks: thread.join()
end.set()
for thread in workers: thread.join()
print("fine")
"""


def test_a_fork_while_another_thread_opens_files_ends(folder: Path) -> None:
    """Another library's handler gives the interpreter to other threads in the middle of a fork."""
    command = [sys.executable, "-c", FORKS, folder / "x.wax"]
    done = subprocess.run(command, timeout=PATIENCE, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "fine\n"


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"])
def test_open_files_are_not_copied(folder: Path, sealed: Sealed, duplicate: Callable[[object], object]) -> None:
    """A copy of a writer would discard the file of the first when it is collected."""
    writer = wax.open(folder / "x.wax", "wb", keys=sealed.key)
    with wax.open(sealed.path, keys=sealed.key) as reader:
        for what in (writer, reader, reader.raw):
            with pytest.raises(TypeError):
                duplicate(what)
    gc.collect()
    writer.write(b"content")
    writer.close()
    assert plaintext_of(folder / "x.wax", sealed.key) == b"content"


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_with_a_zero_byte_is_a_value_error(folder: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    acts: list[Callable[[str], object]] = [
        lambda name: wax.open(name, keys=key),
        lambda name: wax.open(name, "wb", keys=key),
        lambda name: wax.encrypt_file(name, "x", keys=key),
        lambda name: wax.encrypt_file("x", name, keys=key),
        lambda name: wax.decrypt_file(name, "x", keys=key),
        lambda name: wax.verify(name, keys=key),
        lambda name: wax.inspect(name),
        lambda name: wax.KeyFile.load(name),
        lambda name: wax.KeyFile.generate().save(name),
        lambda name: wax.open("x", keys=f"file:{name}"),
    ]
    for act in acts:
        with pytest.raises(ValueError, match="zero byte") as caught:
            act("a\0b")
        assert isinstance(caught.value, wax.UsageError) and caught.value.exit_code == 2
    assert names_in(folder) == set()


class NamedWithMethods:
    """A name of a file that can also read and write by itself, as `py.path.local` is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def read(self, mode: str = "r") -> str:
        raise AssertionError("it is a name, and no open file")

    write = read


def test_a_name_that_can_read_is_a_name(folder: Path, key: str) -> None:
    name = NamedWithMethods(folder / "x.wax")
    with wax.open(name, "wb", keys=key) as file:  # type: ignore[call-overload]
        file.write(b"content")
    with wax.open(name, keys=key) as file:  # type: ignore[call-overload]
        assert file.read() == b"content"
    assert wax.verify(name, keys=key).plaintext_size == 7  # type: ignore[arg-type]
    assert wax.inspect(name).slots[0].kind == "keyfile"  # type: ignore[arg-type]


def test_a_name_in_bytes_is_a_name(folder: Path, key: str) -> None:
    name = os.fsencode(folder / "x.wax")
    with wax.open(name, "wb", keys=key) as file:
        file.write(b"content")
    with wax.open(name, keys=key) as file:
        assert file.read() == b"content"
    assert wax.verify(name, keys=key).plaintext_size == 7
    (result,) = wax.rewrap(name, add=wax.KeyFile.generate(), keys=key)
    assert result.changed and result.path == name


def test_a_descriptor_is_no_name(sealed: Sealed) -> None:
    with open(sealed.path, "rb") as file, pytest.raises(TypeError):
        wax.open(file.fileno(), keys=sealed.key)  # type: ignore[call-overload]


def test_a_list_is_looked_at_before_anything_is_changed(folder: Path, key: str, other_key: str) -> None:
    wax.open(folder / "x.wax", "wb", keys=key).close()
    before = (folder / "x.wax").read_bytes()
    with pytest.raises(TypeError):
        wax.rewrap([folder / "x.wax", 5], add=other_key, keys=key)  # type: ignore[list-item]
    assert (folder / "x.wax").read_bytes() == before
    results = wax.rewrap(["s3://", "a\0b", folder / "x.wax"], add=other_key, keys=key)
    assert [type(result.error) for result in results] == [wax.UsageError, wax.UsageError, type(None)]
    assert [result.changed for result in results] == [False, False, True]


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [types.MappingProxyType, UserDict], ids=["read only", "user's own"])
def test_every_mapping_is_taken(folder: Path, key: str, kind: Callable[[dict[str, str]], object]) -> None:
    pairs = kind({"env": "prod"})
    with wax.open(folder / "x.wax", "wb", keys=key, context=pairs, labels=pairs) as file:  # type: ignore[call-overload]
        file.write(b"content")
    with wax.open(folder / "x.wax", keys=key, context=pairs, labels=pairs) as file:  # type: ignore[call-overload]
        assert file.header.context["env"] == file.header.labels["env"] == "prod"


@pytest.mark.parametrize("wrong", [[("env", "prod")], "env=prod", 3, {"env": 1}, {1: "prod"}, {"env"}])
def test_what_is_no_mapping_of_texts_is_refused(folder: Path, key: str, wrong: object) -> None:
    for name in ("context", "labels"):
        with pytest.raises(TypeError):
            wax.open(folder / "x.wax", "wb", keys=key, **{name: wrong})  # type: ignore[call-overload]
    assert names_in(folder) == set()


def test_an_empty_list_of_keys_is_a_mistake(sealed: Sealed) -> None:
    """It does not mean the keys in KMS, which would be called."""
    for act in (lambda: wax.open(sealed.path, keys=[]), lambda: wax.verify(sealed.path, keys=())):
        with pytest.raises(wax.UsageError, match="empty"):
            act()


def test_text_is_no_target(key: str) -> None:
    target = io.StringIO()
    with pytest.raises(TypeError, match="text"):
        wax.open(target, "wb", keys=key)  # type: ignore[call-overload]


# --- file objects -----------------------------------------------------------------------------------------------------


def test_others_may_move_in_the_file_below(sealed: Sealed) -> None:
    """Two readers over one file object, and a caller that seeks in it."""
    below = io.BytesIO(sealed.path.read_bytes())
    one, two = wax.open(below, keys=sealed.key), wax.open(below, keys=sealed.key)
    at = 0
    while at < MIB:
        assert one.read(40_000) == sealed.content[at : at + 40_000]
        below.seek(77)
        assert two.read(40_000) == sealed.content[at : at + 40_000]
        at += 40_000


class Taking(io.RawIOBase):
    """A raw target that takes what `answer` says, and keeps that much."""

    def __init__(self, answer: Callable[[int], object]) -> None:
        self.answer, self.kept = answer, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> object:  # type: ignore[override]
        taken = self.answer(len(data))  # type: ignore[arg-type]
        if isinstance(taken, int) and taken > 0:
            self.kept += bytes(data)[:taken]  # type: ignore[call-overload]
        return taken


@pytest.mark.parametrize("answer", [lambda size: None, lambda size: -1, lambda size: 0, lambda size: size + 1, lambda size: "7"])
def test_a_target_that_takes_nothing_is_an_error(key: str, answer: Callable[[int], object]) -> None:
    """A raw file says None if it would have to wait. Nothing was written then."""
    file = wax.open(Taking(answer), "wb", keys=key)
    file.write(b"content")
    with pytest.raises(OSError) as caught:
        file.close()
    if answer(1) is None:
        assert caught.value.errno in (None, errno.EAGAIN) and isinstance(caught.value, BlockingIOError)


def test_a_target_that_takes_a_little_gets_all(key: str) -> None:
    target = Taking(lambda size: min(size, 1000))
    with wax.open(target, "wb", keys=key) as file:
        file.write(contents(MIB))
    with wax.open(io.BytesIO(bytes(target.kept)), keys=key) as file:
        assert file.read() == contents(MIB)


# --- buffers and positions --------------------------------------------------------------------------------------------


def test_buffers_of_any_shape_are_written(key: str, folder: Path) -> None:
    numbers = (ctypes.c_int * 4)(1, 2, 3, 4)
    pair = (ctypes.c_uint16.__ctype_be__ * 2)(1, 2)
    nothing = (ctypes.c_int * 3 * 0)()
    strided = memoryview(b"a-b-c-")[::2]
    sealer = wax.Sealer(keys=key)
    sealed = b""
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        for buffer in (numbers, pair, nothing, strided, bytearray(), memoryview(b"table!").cast("B", (2, 3))):
            assert file.write(buffer) == memoryview(buffer).nbytes
            sealed += sealer.push(buffer)
    expected = bytes(numbers) + bytes(pair) + b"abc" + b"table!"
    assert plaintext_of(folder / "x.wax", key) == expected
    (folder / "y.wax").write_bytes(sealed + sealer.finish())
    assert plaintext_of(folder / "y.wax", key) == expected


def test_positions_beyond_what_python_can_say(sealed: Sealed) -> None:
    with wax.open(sealed.path, keys=sealed.key) as file:
        file.seek(2**63 - 1)
        assert file.read(1) == b""
        for act in (lambda: file.seek(2**62, 1), lambda: file.seek(2**63), lambda: file.raw.seek(1, 1)):
            with pytest.raises((OverflowError, ValueError)):
                act()
        assert file.tell() == 2**63 - 1, "a refused move does not move"
        with pytest.raises(ValueError):
            file.seek(-1)
        file.seek(5)
        assert file.read(3) == sealed.content[5:8]


def test_a_buffer_is_free_after_an_error(sealed: Sealed, folder: Path) -> None:
    """The traceback of an exception must not keep it: it could not be resized."""
    altered = bytearray(sealed.path.read_bytes())
    altered[wax.inspect(sealed.path).header_size + 100] ^= 1
    (folder / "x.wax").write_bytes(altered)
    with wax.open(folder / "x.wax", keys=sealed.key) as file:
        buffer = bytearray(MIB)
        with pytest.raises(wax.TamperedError) as caught:
            file.raw.readinto(buffer)
        buffer.clear()
        assert caught.value is not None
        assert not is_valid(folder / "x.wax", sealed.key)
