"""What engines and users do with a file system by mistake, or in an order that nobody expected."""

from __future__ import annotations

import ctypes
import functools
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support import close_while_others_read

import pywaxseal as wax
from pywaxseal.fs import WaxsealFileSystem

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def fs(lake_key: str) -> WaxsealFileSystem:
    made = WaxsealFileSystem(target_protocol="memory", keys=[lake_key])
    made.pipe_file("/lake/a", CONTENT)
    made.pipe_file("/lake/b", CONTENT[::-1])
    return made


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_ranges_come_in_every_iterable(fs: WaxsealFileSystem, kind: Callable[[list[int]], Any]) -> None:
    found = fs.cat_ranges(["/lake/a", "/lake/b"], kind([5, 7]), kind([10, 20]))
    assert found == [CONTENT[5:10], CONTENT[::-1][7:20]]


def test_a_closed_file_holds_no_key_and_no_descriptor(lake_key: str, tmp_path: Path) -> None:
    fs = WaxsealFileSystem(target_protocol="file", keys=[lake_key], cache_entries=0)
    path = str(tmp_path / "a")
    fs.pipe_file(path, CONTENT)
    file = fs.open(path)
    assert file.read(10) == CONTENT[:10]
    file.close()
    assert not any(os.path.realpath(f"/proc/self/fd/{number}") == path for number in os.listdir("/proc/self/fd"))
    assert not any(isinstance(held, wax.Ranges) or hasattr(held, "ranges") for held in vars(file).values())
    assert file.info()["size"] == len(CONTENT)
    for act in (file.read, file.peek, lambda: file.read_at(0, 1), lambda: file.readinto(bytearray(1)), file.tell):
        with pytest.raises(ValueError, match="closed"):
            act()
    file.close()


def test_a_close_while_threads_read_is_a_close(lake_key: str, tmp_path: Path) -> None:
    """The descriptor can be of another file at once. That is no sign of an altered object."""
    fs = WaxsealFileSystem(target_protocol="file", keys=[lake_key])
    path = str(tmp_path / "a")
    fs.pipe_file(path, CONTENT)
    for turn in range(40):
        file = fs.open(path)
        read = functools.partial(file.read_at, 1000, 400_000)
        close_while_others_read(file, read, CONTENT[1000:400_000], 0.0005 * (turn % 7))


def test_buffers_of_any_shape(fs: WaxsealFileSystem) -> None:
    with fs.open("/lake/a") as file:
        with pytest.raises(TypeError):
            file.readinto(b"12345")
        assert file.tell() == 0, "nothing was lost"
        assert file.readinto((ctypes.c_int * 3 * 0)()) == 0
        numbers = (ctypes.c_int * 3)()
        assert file.readinto(numbers) == 12 and bytes(numbers) == CONTENT[:12]
    with fs.open("/lake/c", "wb") as file:
        file.write(memoryview(b"a-b-c-")[::2])
        file.write((ctypes.c_int * 3 * 0)())
        file.write((ctypes.c_uint16.__ctype_be__ * 1)(0x6465))
    assert fs.cat_file("/lake/c") == b"abcde"


def test_a_file_travels_with_keys_of_its_own(fs: WaxsealFileSystem, lake_key: str, lake_other_key: str) -> None:
    other = WaxsealFileSystem(target_protocol="memory", keys=[lake_other_key])
    with other.open("/lake/a", keys=[lake_key]) as file:
        file.seek(10)
        again = pickle.loads(pickle.dumps(file))
        assert again.read(5) == CONTENT[10:15]
    with other.open("/lake/a", keys=[wax.KeyFile.load(lake_key.removeprefix("file:"))]) as file:
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(file)


class WithoutSizes(MemoryFileSystem):
    """A web server that does not say how long a page is."""

    protocol = "withoutsizes"

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return {**super().info(path, **kwargs), "size": None}


def test_an_object_of_unknown_length_says_so(fs: WaxsealFileSystem, lake_key: str) -> None:
    lost = WaxsealFileSystem(WithoutSizes(), keys=[lake_key])
    for act in (lambda: lost.cat_file("/lake/a"), lambda: lost.open("/lake/a")):
        with pytest.raises(wax.IoError, match="does not say how long"):
            act()
