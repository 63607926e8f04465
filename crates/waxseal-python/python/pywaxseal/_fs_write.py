"""How `pywaxseal.fs` writes: nothing is visible before the commit, and only a close without an exception commits."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import queue
import sys
import tempfile
import threading
import time
import warnings
import weakref
from typing import Any, Protocol

from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

import pywaxseal as wax
from pywaxseal._io import _PATIENCE as PATIENCE
from pywaxseal._leaving import Before, Leaving, leaves_with
from pywaxseal._fs_read import MIB

# A sealed object up to this size goes to the store in one request.
SMALL = 8 * MIB


class Sink(Protocol):
    """Where sealed bytes go."""

    def write(self, data: Any) -> None: ...
    def commit(self) -> None: ...
    def discard(self) -> None: ...

    def collected(self) -> None:
        """Discards at once what takes no request, and leaves the rest to `DISCARDS`."""


class LocalSink:
    """A new local file. It gets its name at the commit."""

    def __init__(self, path: str, exclusive: bool, sync: bool, access: dict[str, Any]) -> None:
        self._file = wax.open(path, "xb" if exclusive else "wb", sync=sync, **access)

    def write(self, data: Any) -> None:
        self._file.write(data)

    def commit(self) -> None:
        self._file._commit()

    def discard(self) -> None:
        self._file.discard()

    def collected(self) -> None:
        self.discard()


class StoreSink:
    """A new object. Small ones are sent at the commit. Larger ones are uploaded in parts where the store's file system
    can commit and discard, and otherwise wait in a temporary file, sealed."""

    def __init__(self, fs: Any, path: str, exclusive: bool, block_size: int | None, access: dict[str, Any]) -> None:
        self._fs, self._path, self._exclusive, self._block_size = fs, path, exclusive, block_size
        self._sealer = wax.Sealer(**access)
        self._small = bytearray()
        self._upload: Any = None
        self._waiting: Any = None

    def write(self, data: Any) -> None:
        self._put(self._sealer.push(data))

    def _put(self, sealed: bytes) -> None:
        if self._upload is None and self._waiting is None:
            self._small += sealed
            if len(self._small) <= SMALL:
                return
            sealed, self._small = bytes(self._small), bytearray()
            self._begin()
        (self._waiting if self._upload is None else self._upload).write(sealed)

    def _begin(self) -> None:
        self._upload = upload_of(self._fs, self._path, self._exclusive, self._block_size)
        if self._upload is not None:
            DISCARDS.start()
        else:
            self._waiting = tempfile.NamedTemporaryFile(prefix="waxseal-")  # noqa: SIM115: closed below.

    def commit(self) -> None:
        self._put(self._sealer.finish())
        if self._upload is not None:
            self._upload.close()
            self._upload.commit()
        elif self._waiting is not None:
            self._waiting.flush()
            if self._exclusive and self._fs.exists(self._path):
                raise exists(self._path)
            self._fs.put_file(self._waiting.name, self._path)
            self._waiting.close()
        else:
            more = {"mode": "create"} if self._exclusive else {}
            self._fs.pipe_file(self._path, bytes(self._small), **more)

    def discard(self) -> None:
        self._small = bytearray()
        if self._waiting is not None:
            self._waiting.close()
        if self._upload is not None:
            abandon(self._upload)

    def collected(self) -> None:
        if self._upload is None:
            self.discard()
        else:
            DISCARDS.put(self)


class Discards:
    """Aborts the uploads that nobody has closed.

    The collector finds them, in any thread and inside any call: also inside one that holds a lock of a pool of threads,
    or in the thread that the store needs for its requests. Only `SimpleQueue.put` may be called there. So the thread
    that waits for them begins with the first upload, and not when the first one is found."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """After `fork`, in the child: the uploads are those of its parent."""
        self._found: queue.SimpleQueue[Sink | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="waxseal-fs-discards", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        found = self._found
        while (target := found.get()) is not None:
            quietly(target.discard)
            del target

    def put(self, target: Sink) -> None:
        self._found.put(target)

    def end(self) -> None:
        """Waits until all that were found are aborted."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._found.put(None)
            thread.join()


DISCARDS = Discards()
os.register_at_fork(after_in_child=DISCARDS.reset)


def upload_of(fs: Any, path: str, exclusive: bool, block_size: int | None) -> Any:
    """A file of the store that shows nothing before `commit`, if the store has such files."""
    if not fs.async_impl:
        return None
    more = {} if block_size is None else {"block_size": block_size}
    file = fs.open(path, "xb" if exclusive else "wb", autocommit=False, **more)
    kind = type(file)
    if isinstance(file, AbstractBufferedFile) and all(
        getattr(kind, name) is not getattr(AbstractBufferedFile, name) for name in ("commit", "discard")
    ):
        return file
    # It has written nothing. Closed in this way, it never will.
    if isinstance(file, AbstractBufferedFile):
        file.closed = True
    return None


def abandon(upload: Any) -> None:
    """Ends an upload. The file must not look open afterwards: its finalizer would close it, which uploads more."""
    try:
        upload.discard()
    finally:
        upload.closed = True


def exists(path: str) -> Exception:
    return wax.ExistsError(f"{path}: the output exists")


def sink(fs: Any, path: str, exclusive: bool, sync: bool, block_size: int | None, access: dict[str, Any]) -> Sink:
    if type(fs) is LocalFileSystem:
        if fs.auto_mkdir:
            fs.makedirs(fs._parent(path), exist_ok=True)
        return LocalSink(path, exclusive, sync, access)
    if exclusive and fs.exists(path):
        raise exists(path)
    return StoreSink(fs, path, exclusive, block_size, access)


class SealedFileWriter(io.BufferedIOBase):
    """A new sealed object.

    The object appears when `close` or a `with` block ends without an exception. Libraries close files on their way out
    of an exception (`finally`, `fsspec.OpenFile`, the handles of pandas). So a `close` while an exception is handled
    that was not handled when the file was opened writes nothing, and warns. `commit` writes in any case.
    """

    mode = "wb"

    def __init__(self, fs: Any, path: str, target: Sink, autocommit: bool) -> None:
        super().__init__()
        self.fs, self.path, self.name, self.autocommit = fs, path, path, autocommit
        self._sink: Sink | None = target
        self._pid, self._at = os.getpid(), 0
        # Threads may share the file: a part is sealed and sent in one step, and the end is one step.
        self._turn = threading.RLock()
        self._is_discarded = False
        self._outcome = "open"
        # The process and the thread that are inside `write`.
        self._writing = (0, 0)
        self._before = Before()
        WRITERS.add(self)

    def __repr__(self) -> str:
        return f"<SealedFileWriter {self.path!r}: {self._outcome}>"

    def writable(self) -> bool:
        self._alive()
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        self._alive()
        return self._at

    def flush(self) -> None:
        """Nothing: a part that is not complete cannot be sealed."""

    def _alive(self) -> None:
        if self.closed or self._sink is None:
            raise ValueError("I/O operation on closed file")

    def write(self, data: Any) -> int:
        self._alive()
        assert self._sink is not None
        if self._pid != os.getpid():
            raise wax.UsageError(f"{self.path}: the file was opened by another process")
        size = memoryview(data).nbytes
        with self._turn:
            self._check_turn()
            self._alive()
            self._writing = (os.getpid(), threading.get_ident())
            try:
                self._sink.write(data)
                self._at += size
            except BaseException:
                self._is_discarded = True
                raise
            finally:
                self._writing = (0, 0)
                if self._is_discarded:
                    self.discard()
        return size

    def _check_turn(self) -> None:
        if self._writing == (os.getpid(), threading.get_ident()):
            raise RuntimeError("reentrant call: this file is being written by the caller of this call")

    def close(self) -> None:
        if self.closed:
            return
        self._check_turn()
        if self._sink is not None and self._is_failing():
            warn(f"{self.path}: not written, because it was closed while an exception was handled", RuntimeWarning)
            self.discard()
            return
        self._end_well()

    def _end_well(self) -> None:
        if self.autocommit and self._sink is not None:
            self.commit()
        self._check_turn()
        super().close()

    def _is_failing(self) -> bool:
        now = sys.exception()
        # The end of an iterator is no failure, unless it ends a `with`.
        is_new = now is not self._before.handled and not isinstance(now, StopIteration | StopAsyncIteration)
        return (now is not None and is_new) or leaves_with(self._before) is not Leaving.NO

    def commit(self) -> None:
        """Writes the object, whatever exception is handled now. A transaction calls this at its end."""
        if self._pid != os.getpid():
            raise wax.UsageError(f"{self.path}: the file was opened by another process")
        with self._turn:
            self._check_turn()
            self._commit()

    def _commit(self) -> None:
        if self._sink is not None and not self.autocommit and not self.closed:
            self.discard()
            raise wax.UsageError(f"{self.path}: the transaction ended before the file was closed")
        target, self._sink = self._sink, None
        if target is None:
            if self._outcome == "discarded":
                raise wax.UsageError(f"{self.path}: the file was discarded, so it cannot be written")
            return
        self._outcome = "discarded"
        try:
            target.commit()
        except BaseException:
            quietly(target.discard)
            raise
        finally:
            WRITERS.discard(self)
            super().close()
        self._outcome = "written"
        self.fs._was_written(self.path)

    def discard(self) -> None:
        """Ends without an object. A multipart upload is aborted. It may be called at any time."""
        if self._pid != os.getpid():
            # A forked child must not end the upload of its parent.
            self._sink = None
            super().close()
            return
        self._is_discarded = True
        with self._turn:
            if self._writing == (os.getpid(), threading.get_ident()):
                # A signal handler, or the store's own code, is in the middle of `write`. That one ends it.
                return
            target, self._sink = self._sink, None
            WRITERS.discard(self)
            super().close()
            if target is None:
                return
            self._outcome = "discarded"
            quietly(target.discard)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.discard()
        elif not self.closed:
            self._end_well()

    def _dealloc_warn(self, _source: Any) -> None:
        """A wrapper, such as `io.TextIOWrapper`, calls this before its finalizer closes this file."""
        self._collected()

    def _collected(self) -> None:
        target, self._sink = self._sink, None
        if target is None:
            return
        self._outcome = "discarded"
        super().close()
        if self._pid != os.getpid() or sys.is_finalizing():
            return
        warn(f"{self.path}: not written, because nobody closed it", ResourceWarning)
        quietly(target.collected)

    def __del__(self) -> None:
        if getattr(self, "_sink", None) is not None:
            self._collected()

    def __reduce__(self) -> Any:
        raise TypeError("a file that is open for writing cannot be pickled")


WRITERS: weakref.WeakSet[SealedFileWriter] = weakref.WeakSet()


def warn(text: str, kind: type[Warning]) -> None:
    # With `-W error` a warning is an exception. It must not stop what follows.
    with contextlib.suppress(Warning):
        warnings.warn(text, kind, stacklevel=3)


def quietly(act: Any) -> None:
    """Acts, and hides an error: another one is on its way, and an upload that was not aborted ends by the store's rule."""
    with contextlib.suppress(Exception):
        act()


@atexit.register
def _discard_all() -> None:
    """What nobody has closed when the interpreter ends."""
    deadline = time.monotonic() + PATIENCE
    for writer in list(WRITERS):
        if writer._sink is not None and writer._pid == os.getpid():
            warn(f"{writer.path}: not written, because nobody closed it", ResourceWarning)
            # A daemon thread can be in the middle of a `write` that never returns.
            if writer._turn.acquire(timeout=max(deadline - time.monotonic(), 0)):
                try:
                    writer.discard()
                finally:
                    writer._turn.release()
    DISCARDS.end()


class TextWriter(io.TextIOWrapper):
    """Text for a sealed object. A `with` block that ends with an exception discards it, which `io.TextIOWrapper` does not."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.discard()
        elif not self.closed:
            self.flush()
            target: Any = self.buffer
            target._end_well()
            self.close()

    def discard(self) -> None:
        target: Any = self.buffer
        target.discard()


class CompressedWriter(io.BufferedIOBase):
    """A compressor in front of a sealed object. The compressor closes nothing but itself."""

    def __init__(self, compressor: Any, target: SealedFileWriter) -> None:
        super().__init__()
        self._compressor, self._target = compressor, target

    def writable(self) -> bool:
        return not self.closed

    def write(self, data: Any) -> int:
        written: int = self._compressor.write(data)
        return written

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._target.closed or self._target._is_failing():
            self._target.close()
            return
        self._compressor.close()
        self._target.close()

    def _end_well(self) -> None:
        if self.closed:
            return
        super().close()
        self._compressor.close()
        self._target._end_well()

    def discard(self) -> None:
        self._target.discard()
        super().close()

    def _dealloc_warn(self, source: Any) -> None:
        self._target._dealloc_warn(source)

    def __del__(self) -> None:
        target = getattr(self, "_target", None)
        if target is not None:
            target._collected()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._end_well()
        else:
            self.discard()

