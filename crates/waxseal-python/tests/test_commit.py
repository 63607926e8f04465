"""Only an explicit `close()`, or a `with` that ends without an exception, commits. Nothing else ever does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import signal
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from support import CHUNK, MIB, contents, is_valid, names_in, plaintext_of, run, run_well, skipped

import pywaxseal as wax

OLD = b"what was there before"


@pytest.fixture(params=["new", "existing"])
def target(request: pytest.FixtureRequest, folder: Path) -> Iterator[Path]:
    """A path under which nothing may appear, or an existing file that may not change. The folder is then as before."""
    path = folder / "x.wax"
    if request.param == "existing":
        path.write_bytes(OLD)
    yield path
    assert untouched(path)


def untouched(path: Path) -> bool:
    """Whether the folder is as `target` made it."""
    names = names_in(path.parent)
    return not names or (names == {path.name} and path.read_bytes() == OLD)


# --- what commits -----------------------------------------------------------------------------------------------------


def test_close_commits(folder: Path, key: str) -> None:
    file = wax.open(folder / "x.wax", "wb", keys=key)
    file.write(b"content")
    assert names_in(folder) == set(), "nothing is visible before close"
    file.close()
    assert names_in(folder) == {"x.wax"}
    assert plaintext_of(folder / "x.wax", key) == b"content"


def test_a_with_that_ends_well_commits(folder: Path, key: str) -> None:
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        file.write(contents(2 * MIB))
        file.flush()
        assert names_in(folder) == set(), "flush commits nothing"
    assert plaintext_of(folder / "x.wax", key) == contents(2 * MIB)


@pytest.mark.parametrize("wrap", ["BufferedWriter", "TextIOWrapper", "ZipFile"])
def test_the_close_of_a_wrapper_commits(folder: Path, key: str, wrap: str) -> None:
    file = wax.open(folder / "x.wax", "wb", keys=key)
    match wrap:
        case "BufferedWriter":
            with io.BufferedWriter(file) as outer:  # type: ignore[arg-type]
                outer.write(b"content")
        case "TextIOWrapper":
            with io.TextIOWrapper(file) as text:
                text.write("content")
        case _:
            with file, zipfile.ZipFile(file, "w") as archive:
                archive.writestr("name", b"content")
    assert is_valid(folder / "x.wax", key)


def test_wb_replaces_at_once_and_keeps_the_mode(folder: Path, key: str) -> None:
    path = folder / "x.wax"
    path.write_bytes(OLD)
    path.chmod(0o640)
    before = path.stat().st_ino
    with wax.open(path, "wb", keys=key) as file:
        file.write(b"new")
        assert path.read_bytes() == OLD, "the old file is there until the new one is complete"
    assert plaintext_of(path, key) == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before, "the file was replaced, not overwritten"
    assert names_in(folder) == {"x.wax"}


def test_xb_refuses_an_existing_file(folder: Path, key: str) -> None:
    path = folder / "x.wax"
    with wax.open(path, "xb", keys=key) as file:
        file.write(b"first")
    sealed = path.read_bytes()
    with pytest.raises(wax.ExistsError) as caught:
        wax.open(path, "xb", keys=key)
    assert isinstance(caught.value, FileExistsError) and caught.value.exit_code == 8
    assert path.read_bytes() == sealed
    assert names_in(folder) == {"x.wax"}


def test_xb_refuses_a_file_that_appears_meanwhile(folder: Path, key: str) -> None:
    path = folder / "x.wax"
    file = wax.open(path, "xb", keys=key)
    file.write(b"ours")
    path.write_bytes(OLD)
    with pytest.raises(wax.ExistsError):
        file.close()
    assert path.read_bytes() == OLD
    assert names_in(folder) == {"x.wax"}
    file.close()
    assert file.closed and path.read_bytes() == OLD


def test_a_missing_folder_is_noticed_before_anything_is_written(folder: Path, key: str) -> None:
    with pytest.raises(wax.Error) as caught:
        wax.open(folder / "missing" / "x.wax", "wb", keys=key)
    assert caught.value.exit_code in (7, 10)
    assert names_in(folder) == set()


# --- what does not commit, in this process ----------------------------------------------------------------------------


def test_an_exception_in_a_with_leaves_nothing(target: Path, key: str) -> None:
    with pytest.raises(ZeroDivisionError), wax.open(target, "wb", keys=key) as file:
        file.write(contents(2 * MIB))
        raise ZeroDivisionError
    assert file.closed
    file.close()


def test_a_with_around_several_files_leaves_nothing(folder: Path, key: str) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: SIM117 (the order of the exits is what is tested)
        with wax.open(folder / "a", "wb", keys=key) as one, wax.open(folder / "b", "wb", keys=key) as two:
            one.write(b"1")
            two.write(b"2")
            raise ZeroDivisionError
    assert names_in(folder) == set()


FAILING: dict[str, Callable[[wax.SealedWriter], AbstractContextManager[object]]] = {
    "BufferedWriter": lambda file: io.BufferedWriter(file),  # type: ignore[arg-type]
    "TextIOWrapper": lambda file: io.TextIOWrapper(file),
    "TextIOWrapper of a BufferedWriter": lambda file: io.TextIOWrapper(io.BufferedWriter(file)),  # type: ignore[arg-type]
    "contextlib.closing": lambda file: contextlib.closing(file),
}


@pytest.mark.parametrize("wrapper", FAILING)
@pytest.mark.parametrize("around", ["the wrapper alone", "both in one with", "both in an ExitStack"])
def test_an_exception_in_a_with_of_a_wrapper_leaves_nothing(target: Path, key: str, wrapper: str, around: str) -> None:
    """The `__exit__` of the wrappers of `io` calls `close()` whatever happened. That is no explicit close."""
    wrap = FAILING[wrapper]
    with pytest.raises(ZeroDivisionError):
        match around:
            case "the wrapper alone":
                with wrap(wax.open(target, "wb", keys=key)):
                    raise ZeroDivisionError
            case "both in one with":
                with wax.open(target, "wb", keys=key) as file, wrap(file):
                    file.write(contents(2 * MIB))
                    raise ZeroDivisionError
            case _:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(wrap(stack.enter_context(wax.open(target, "wb", keys=key))))
                    raise ZeroDivisionError


def test_an_explicit_close_while_an_exception_is_handled_commits(folder: Path, key: str) -> None:
    file = wax.open(folder / "a", "wb", keys=key)
    try:
        file.write(b"content")
        raise ZeroDivisionError
    except ZeroDivisionError:
        file.close()
    assert plaintext_of(folder / "a", key) == b"content"


def test_a_file_that_is_opened_and_closed_while_a_with_fails_commits(folder: Path, key: str) -> None:
    class Report:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            file = wax.open(folder / "report", "wb", keys=key)
            file.write(b"it failed")
            file.close()

    with pytest.raises(ZeroDivisionError), Report():
        raise ZeroDivisionError
    assert plaintext_of(folder / "report", key) == b"it failed"


@pytest.mark.parametrize("wrapper", FAILING)
@pytest.mark.parametrize("around", ["an AsyncExitStack", "a class with __aexit__"])
def test_an_exception_in_an_async_with_of_a_wrapper_leaves_nothing(
    target: Path, key: str, wrapper: str, around: str
) -> None:
    class Both:
        def __init__(self, outer: Any) -> None:
            self.outer = outer

        async def __aenter__(self) -> None:
            await asyncio.sleep(0)

        async def __aexit__(self, *error: Any) -> None:
            await asyncio.sleep(0)
            self.outer.__exit__(*error)

    async def work() -> None:
        file = wax.open(target, "wb", keys=key)
        outer: Any = FAILING[wrapper](file)
        if around == "an AsyncExitStack":
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(outer)
                await asyncio.sleep(0)
                raise ZeroDivisionError
        async with Both(outer):
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ZeroDivisionError):
            asyncio.run(work())


class Exit:
    """A context whose end takes time, or fails."""

    def __init__(self, error: type[BaseException] | None = None) -> None:
        self.error = error

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self.error is not None:
            raise self.error

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(60)


async def cancelled_in_the_end(outer: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(outer)
        await stack.enter_async_context(Exit())
        raise ZeroDivisionError


async def cancelled_in_the_end_of_two_withs(outer: Any) -> None:
    with outer:
        async with Exit():
            raise ZeroDivisionError


@pytest.mark.parametrize("wrapper", FAILING)
@pytest.mark.parametrize("work", [cancelled_in_the_end, cancelled_in_the_end_of_two_withs])
@pytest.mark.parametrize("how", ["timeout", "dropped"])
def test_a_task_that_is_cancelled_while_a_with_fails_leaves_nothing(
    target: Path, key: str, wrapper: str, work: Any, how: str
) -> None:
    async def main() -> None:
        outer = FAILING[wrapper](wax.open(target, "wb", keys=key))
        if how == "timeout":
            await asyncio.wait_for(work(outer), 0.05)
        else:
            coroutine = work(outer)
            with contextlib.suppress(StopIteration):
                coroutine.send(None)
            coroutine.close()

    with contextlib.suppress(TimeoutError, ZeroDivisionError):
        asyncio.run(main())
    gc.collect()


@pytest.mark.parametrize("wrapper", FAILING)
def test_an_exception_of_another_exit_in_a_stack_leaves_nothing(target: Path, key: str, wrapper: str) -> None:
    """The `with` itself has ended well. The stack hands the exception on, and nobody handles it at that moment."""
    with pytest.raises(KeyError), contextlib.ExitStack() as stack:
        stack.enter_context(FAILING[wrapper](wax.open(target, "wb", keys=key)))
        stack.enter_context(Exit(KeyError))


@pytest.mark.parametrize("wrapper", FAILING)
def test_a_stack_that_ends_an_exception_commits(folder: Path, key: str, wrapper: str) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(FAILING[wrapper](wax.open(folder / "x", "wb", keys=key)))
        stack.enter_context(contextlib.suppress(KeyError))
        raise KeyError
    assert plaintext_of(folder / "x", key) == b""


@pytest.mark.parametrize("wrapper", FAILING)
def test_an_exception_that_is_raised_again_leaves_nothing(target: Path, key: str, wrapper: str) -> None:
    with pytest.raises(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as error:
            with FAILING[wrapper](wax.open(target, "wb", keys=key)):
                raise error


def test_a_file_of_one_failure_is_not_made_by_the_next_one(target: Path, key: str) -> None:
    class Log:
        files: list[Any] = []

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> bool:
            if not self.files:
                self.files.append(io.TextIOWrapper(wax.open(target, "wb", keys=key)))
            else:
                self.files[0].close()
            return True

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(2):
            with Log():
                raise ZeroDivisionError


def test_an_async_with_that_ends_well_commits(folder: Path, key: str) -> None:
    async def work() -> None:
        async with contextlib.AsyncExitStack() as stack:
            text = stack.enter_context(io.TextIOWrapper(wax.open(folder / "a", "wb", keys=key)))
            text.write("content")

    asyncio.run(work())
    assert plaintext_of(folder / "a", key) == b"content"


def test_a_close_that_does_not_commit_says_so(target: Path, key: str) -> None:
    """Somebody's own code is between the `with` and the `close()`. Whether it has a whole file is not known."""

    @contextlib.contextmanager
    def log() -> Iterator[wax.SealedWriter]:
        file = wax.open(target, "wb", keys=key)
        try:
            yield file
        finally:
            file.close()

    with pytest.warns(RuntimeWarning, match="not written"), pytest.raises(ZeroDivisionError), log() as file:
        file.write(b"the first half")
        raise ZeroDivisionError


@pytest.mark.parametrize("how", ["with", "close"])
def test_a_file_in_an_exit_that_handles_one_more_exception_commits(folder: Path, key: str, how: str) -> None:
    class Report:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> bool:
            file = wax.open(folder / "report", "wb", keys=key)
            try:
                raise KeyError
            except KeyError:
                if how == "with":
                    with file:
                        file.write(b"it failed")
                else:
                    file.write(b"it failed")
                    file.close()
            return True

    with Report():
        raise ZeroDivisionError
    assert plaintext_of(folder / "report", key) == b"it failed"


def test_a_with_that_ends_well_commits_whatever_is_handled_around_it(folder: Path, key: str) -> None:
    class Late:
        def __enter__(self) -> wax.SealedWriter:
            self.file = wax.open(folder / "x", "wb", keys=key)
            return self.file

        def __exit__(self, *_: object) -> bool:
            with self.file:
                self.file.write(b"the end")
            return True

    with Late():
        raise ZeroDivisionError
    assert plaintext_of(folder / "x", key) == b"the end"


def test_discard_leaves_nothing(target: Path, key: str) -> None:
    file = wax.open(target, "wb", keys=key)
    file.write(contents(MIB))
    file.discard()
    assert file.closed
    file.discard()
    file.close()
    with pytest.raises(ValueError):
        file.write(b"x")


def test_discard_in_a_with_leaves_nothing(target: Path, key: str) -> None:
    with wax.open(target, "wb", keys=key) as file:
        file.write(b"x")
        file.discard()


def test_a_generator_that_is_closed_leaves_nothing(target: Path, key: str) -> None:
    def write() -> Iterator[int]:
        with wax.open(target, "wb", keys=key) as file:
            while True:
                yield file.write(b"more")

    lines = write()
    assert next(lines) == 4
    lines.close()


def test_a_generator_that_is_collected_leaves_nothing(target: Path, key: str) -> None:
    def write() -> Iterator[int]:
        with wax.open(target, "wb", keys=key) as file:
            while True:
                yield file.write(b"more")

    lines = write()
    assert next(lines) == 4
    del lines
    gc.collect()


WRAPPERS: dict[str, Callable[[wax.SealedWriter], object]] = {
    "alone": lambda file: file,
    "BufferedWriter": lambda file: io.BufferedWriter(file),  # type: ignore[arg-type]
    "TextIOWrapper": lambda file: io.TextIOWrapper(file),
    "TextIOWrapper of a BufferedWriter": lambda file: io.TextIOWrapper(io.BufferedWriter(file)),  # type: ignore[arg-type]
    "BufferedRandom-like cycle": lambda file: [file],
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("size", [0, 10, CHUNK, 2 * MIB])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_object_that_is_collected_leaves_nothing(target: Path, key: str, wrapper: str, size: int) -> None:
    outer = WRAPPERS[wrapper](wax.open(target, "wb", keys=key))
    match outer:
        case io.TextIOWrapper():
            outer.write("x" * size)
        case list():
            outer.append(outer)  # only the cyclic collector finds it
            outer[0].write(contents(size))
        case _:
            outer.write(contents(size))  # type: ignore[attr-defined]
    del outer
    gc.collect()
    assert untouched(target)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_subclass_of_the_users_own_that_is_collected_leaves_nothing(target: Path, key: str) -> None:
    """`io.IOBase.__del__` calls `close()` of the most derived class. That is no explicit close."""

    class Outer(io.RawIOBase):
        def __init__(self, file: wax.SealedWriter) -> None:
            self.file = file

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            return self.file.write(data)  # type: ignore[arg-type]

    outer = Outer(wax.open(target, "wb", keys=key))
    outer.write(b"content")
    del outer
    gc.collect()
    assert untouched(target)


def test_what_is_collected_says_so(folder: Path, key: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = wax.open(folder / "x.wax", "wb", keys=key)
        file.write(b"content")
        del file
        gc.collect()
    assert any(issubclass(warning.category, ResourceWarning) for warning in caught)
    assert names_in(folder) == set()


def test_dunder_del_itself_leaves_nothing(target: Path, key: str) -> None:
    file = wax.open(target, "wb", keys=key)
    file.write(b"content")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        if hasattr(file, "__del__"):
            file.__del__()
        io.IOBase.__del__(file)
    assert untouched(target)
    del file
    gc.collect()


def test_a_failed_write_of_the_target_leaves_no_valid_file(key: str) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            if self.tell() > MIB:
                raise OSError(28, "No space left on device")
            return super().write(data)  # type: ignore[arg-type]

    sink = Full()
    with pytest.raises(OSError) as caught, wax.open(sink, "wb", keys=key) as file:
        for _ in range(64):
            file.write(contents(MIB))
    assert "No space left" in str(caught.value) or caught.value.errno == 28
    refuses(sink.getvalue(), key)


def refuses(sealed: bytes, key: str) -> None:
    """No reader accepts these bytes as a complete file."""
    with pytest.raises(wax.Error), wax.open(io.BytesIO(sealed), keys=key) as file:
        file.read()


@pytest.mark.parametrize("size", [0, 10, CHUNK, CHUNK + 1, 3 * MIB])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_object_gets_no_end_without_a_commit(key: str, size: int) -> None:
    raised, discarded, collected, wrapped = (io.BytesIO() for _ in range(4))
    with pytest.raises(ZeroDivisionError), wax.open(raised, "wb", keys=key) as file:
        file.write(contents(size))
        raise ZeroDivisionError
    file = wax.open(discarded, "wb", keys=key)
    file.write(contents(size))
    file.discard()
    file = wax.open(collected, "wb", keys=key)
    file.write(contents(size))
    del file
    outer = io.BufferedWriter(wax.open(wrapped, "wb", keys=key))  # type: ignore[arg-type]
    outer.write(contents(size))
    del outer
    gc.collect()
    for sink in (raised, discarded, collected, wrapped):
        assert not sink.closed
        refuses(sink.getvalue(), key)


def test_a_failed_encrypt_file_leaves_nothing(folder: Path, key: str) -> None:
    with pytest.raises(wax.Error):
        wax.encrypt_file(folder / "missing", folder / "x.wax", keys=key)
    assert names_in(folder) == set()


@pytest.mark.parametrize("lost", [1, 16, CHUNK + 16])
def test_a_failed_decrypt_file_leaves_nothing(folder: Path, key: str, lost: int) -> None:
    with wax.open(folder / "x.wax", "wb", keys=key) as file:
        file.write(contents(2 * MIB))
    whole = (folder / "x.wax").read_bytes()
    (folder / "x.wax").write_bytes(whole[:-lost])
    with pytest.raises(wax.TamperedError):
        wax.decrypt_file(folder / "x.wax", folder / "y", keys=key)
    (folder / "y").write_bytes(OLD)
    with pytest.raises(wax.TamperedError):
        wax.decrypt_file(folder / "x.wax", folder / "y", keys=key, overwrite=True)
    assert names_in(folder) == {"x.wax", "y"} and (folder / "y").read_bytes() == OLD


def test_files_to_files_replace_only_when_told(folder: Path, key: str) -> None:
    (folder / "x").write_bytes(b"content")
    (folder / "x.wax").write_bytes(OLD)
    with pytest.raises(wax.ExistsError):
        wax.encrypt_file(folder / "x", folder / "x.wax", keys=key)
    assert (folder / "x.wax").read_bytes() == OLD
    wax.encrypt_file(folder / "x", folder / "x.wax", keys=key, overwrite=True)
    with pytest.raises(wax.ExistsError):
        wax.decrypt_file(folder / "x.wax", folder / "x", keys=key)
    wax.decrypt_file(folder / "x.wax", folder / "x", keys=key, overwrite=True)
    assert (folder / "x").read_bytes() == b"content"


# --- what does not commit when a process ends -------------------------------------------------------------------------

ENDS = {
    "the end of the program": ("", 0),
    "sys.exit": ("sys.exit(0)", 0),
    "sys.exit in a function": ("def f(held): sys.exit(0)\nf(file)", 0),
    "an exception": ("raise RuntimeError('as planned')", 1),
    "os._exit": ("os._exit(0)", 0),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)", -signal.SIGINT),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)", -signal.SIGTERM),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)", -signal.SIGKILL),
    "os.abort": ("os.abort()", -signal.SIGABRT),
    "os.execv": ("os.execv('/bin/true', ['true'])", 0),
    "a thread that is left running": (
        "def on():\n while True: file.write(bytes(1000))\n"
        "threading.Thread(target=on, daemon=True).start()\nwhile file.tell() < 3 * MIB: time.sleep(0)",
        0,
    ),
    "an exit handler that writes": ("import atexit\natexit.register(lambda: file.write(b'last words'))", 0),
    "a cycle with a finalizer": (
        "class Held:\n def __del__(self): self.file.write(b'last words')\n"
        "held = Held(); held.file = file; held.itself = held; del held",
        0,
    ),
    "an exception in a with": ("with file: raise RuntimeError('as planned')", 1),
    "sys.exit in a with": ("with file: sys.exit(0)", 0),
    "SIGINT in a with": ("with file:\n os.kill(os.getpid(), signal.SIGINT)\n time.sleep(60)", -signal.SIGINT),
}

HOLDS = {
    "alone": "file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])",
    "BufferedWriter": "file = io.BufferedWriter(wax.open(sys.argv[1], 'wb', keys=sys.argv[2]))",
    "TextIOWrapper": "text = io.TextIOWrapper(wax.open(sys.argv[1], 'wb', keys=sys.argv[2]))\nfile = text.buffer",
    "a file object": "sink = open(sys.argv[1] + '.sink', 'wb', buffering=0)\n"
    "file = wax.open(sink, 'wb', keys=sys.argv[2])",
}


def unnamed_files_work(folder: Path) -> bool:
    """Whether the file system has files without names, so that even kill -9 leaves nothing."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except (AttributeError, OSError):
        return False
    return True


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("held", HOLDS)
def test_the_end_of_a_process_commits_nothing(folder: Path, key: str, held: str, end: str) -> None:
    for name in ("new.wax", "old.wax"):
        path = folder / name
        if name == "old.wax":
            path.write_bytes(OLD)
        code, status = ENDS[end]
        done = run(f"{HOLDS[held]}\nfile.write(contents(3 * MIB))\n{code}", str(path), key)
        ended_by_signal = done.returncode == status or (status < 0 and done.returncode == 128 - status)
        # A failed flush of a wrapper at the interpreter's end may be reported by the exit status 120. CPython itself aborts
        # if a thread holds the lock of a BufferedWriter then.
        tolerated = {0: (120, -signal.SIGABRT)}.get(status, ())
        assert ended_by_signal or done.returncode in tolerated, f"{done.returncode}\n{done.stderr}"
        sink = Path(f"{path}.sink")
        if sink.exists():
            assert not is_valid(sink, key), "a file object got a complete file"
            sink.unlink()
        if name == "old.wax":
            assert path.read_bytes() == OLD
        else:
            assert not path.exists()
    violent = end in ("SIGTERM", "SIGKILL", "os._exit", "os.abort", "os.execv")
    if violent and not unnamed_files_work(folder):
        skipped(f"no temporary file after {end}", "the file system has no files without names")
        return
    assert names_in(folder) == {"old.wax"}


def test_a_commit_after_the_thread_that_opened_ends_is_a_commit(folder: Path, key: str) -> None:
    out = run_well(
        """
        made = []
        def begin():
            made.append(wax.open(sys.argv[1], 'wb', keys=sys.argv[2]))
            made[0].write(b'one')
        thread = threading.Thread(target=begin)
        thread.start(); thread.join()
        made[0].write(b'two')
        made[0].close()
        print('closed')
        """,
        str(folder / "x.wax"),
        key,
    )
    assert out == "closed\n"
    assert plaintext_of(folder / "x.wax", key) == b"onetwo"


# --- fork -------------------------------------------------------------------------------------------------------------

CHILDREN = {
    "sys.exit": "sys.exit(0)",
    "os._exit": "os._exit(0)",
    "an exception": "sys.stderr = open(os.devnull, 'w')\nraise RuntimeError('as planned')",
    "del": "del file\ngc.collect()\nos._exit(0)",
    "close": "try: file.close()\nexcept BaseException: pass\nos._exit(0)",
    "discard": "try: file.discard()\nexcept BaseException: pass\nos._exit(0)",
    "write and close": "try:\n file.write(b'child')\n file.close()\nexcept BaseException: pass\nos._exit(0)",
    "with": "try:\n with file: pass\nexcept BaseException: pass\nos._exit(0)",
}


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("where", ["file", "file object"])
def test_a_forked_child_neither_commits_nor_takes_away(folder: Path, key: str, child: str, where: str) -> None:
    """The file belongs to the process that opened it. Whatever the child does, the parent's file stays its own."""
    body = "\n        ".join(CHILDREN[child].split("\n"))
    out = run_well(
        f"""
path, key, where = sys.argv[1:]
import warnings; warnings.simplefilter('ignore')
sink = open(path, 'wb', buffering=0) if where == 'file object' else path
file = wax.open(sink, 'wb', keys=key)
file.write(contents(3 * MIB))
pid = os.fork()
if pid == 0:
    if True:
        {body}
os.waitpid(pid, 0)
before = os.path.exists(path) and os.path.getsize(path)
file.write(b'parent')
file.close()
print(before)
        """,
        str(folder / "x.wax"),
        key,
        where,
    )
    if where == "file":
        assert out == "False\n", "the child made a file"
        assert names_in(folder) == {"x.wax"}
    assert plaintext_of(folder / "x.wax", key) == contents(3 * MIB) + b"parent"


def test_a_forked_child_that_closes_is_told(folder: Path, key: str) -> None:
    out = run_well(
        """
        file = wax.open(sys.argv[1], 'wb', keys=sys.argv[2])
        file.write(b'parent')
        pid = os.fork()
        if pid == 0:
            try:
                file.close()
            except wax.Error as error:
                os.write(1, f'{type(error).__name__} {error.exit_code}'.encode())
            os._exit(0)
        os.waitpid(pid, 0)
        file.discard()
        """,
        str(folder / "x.wax"),
        key,
    )
    assert out == "UsageError 2"
    assert names_in(folder) == set()
