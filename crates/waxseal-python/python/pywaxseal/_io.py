"""File objects over the native half."""

from __future__ import annotations

import atexit
import contextlib
import io
import operator
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, IO, Literal, overload

from . import _native
from ._errors import tell
from ._leaving import Before, Leaving, leaves_with
from ._native import S3, Inspection

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._native import _CallsKms, _Keys

# Once, however often this module is imported: the second call would wait for the first.
if not getattr(_native, "_forks", False):
    _native._forks = True  # type: ignore[attr-defined]
    os.register_at_fork(
        before=_native._before_fork,
        after_in_parent=_native._after_fork,
        after_in_child=_native._after_fork,
    )


class _Locks:
    """A lock that is free in a child, whoever held it in the parent during the fork."""

    def __init__(self) -> None:
        self._process, self._lock = os.getpid(), threading.RLock()

    def __call__(self) -> threading.RLock:
        if self._process != os.getpid():
            self._process, self._lock = os.getpid(), threading.RLock()
        return self._lock


# So many seconds the end of the interpreter waits for threads, for all of them together.
_PATIENCE = 2.0

_NOT_MADE = "not written, because it was closed while an exception ended a `with`"

_BUFFER = 64 << 10
# Longer reads are opened where they stay.
_LONG = 256 << 10


def _not_copied(what: object) -> TypeError:
    return TypeError(f"an open sealed file cannot be copied or pickled: {what!r}")


class _Raw(io.RawIOBase):
    """Plaintext of a native reader. When it is closed, nothing of the file stays open or in memory."""

    def __init__(self, native: _native.Reader | _native.StreamReader, name: Any) -> None:
        super().__init__()
        self._native: Any = native
        self.name = name
        self.mode = "rb"
        self.header = native.header
        self.key = native.key

    def _opened(self) -> Any:
        native = self._native
        if native is None:
            raise ValueError("I/O operation on closed file")
        return native

    def readable(self) -> bool:
        self._opened()
        return True

    def readinto(self, buffer: Any) -> int:
        native = self._opened()
        # The views are released also after an exception, whose traceback would keep them.
        with memoryview(buffer) as view:
            if view.format == "B" and view.ndim == 1:
                return native.readinto(view)  # type: ignore[no-any-return]
            with view.cast("B") as flat:
                return native.readinto(flat)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._native = None
        super().close()

    def __reduce__(self) -> Any:
        raise _not_copied(self)


class _RawReader(_Raw):
    """Plaintext at any position."""

    def __init__(self, native: _native.Reader, name: Any) -> None:
        super().__init__(native, name)
        self.size = native.size

    def seekable(self) -> bool:
        self._opened()
        return True

    def readall(self) -> bytes:
        return self._opened().readall()  # type: ignore[no-any-return]

    def read_range(self, start: int, end: int) -> bytes:
        """The plaintext from `start` to `end`. The position stays where it is."""
        return self._opened().read_range(start, end)  # type: ignore[no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._opened().seek(offset, whence)  # type: ignore[no-any-return]

    def tell(self) -> int:
        return self._opened().tell()  # type: ignore[no-any-return]


class SealedReader(io.BufferedReader):
    """A sealed file that is read as its plaintext."""

    def __init__(self, raw: _Raw, buffer_size: int) -> None:
        super().__init__(raw, buffer_size)
        self._locked = _Locks()

    @property
    def size(self) -> int:
        """The length of the plaintext in bytes. It is authenticated. A file that cannot seek does not have it."""
        return self.raw.size  # type: ignore[attr-defined, no-any-return]

    @property
    def header(self) -> Inspection:
        """The header of the file. What it binds is authentic."""
        return self.raw.header  # type: ignore[attr-defined, no-any-return]

    @property
    def key(self) -> str:
        """The name of the key that opened the file."""
        return self.raw.key  # type: ignore[attr-defined, no-any-return]

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads at most `size` bytes, or everything up to the end. It is one step for other threads."""
        if size is not None:
            size = operator.index(size)
            if size >= _LONG and isinstance(self.raw, _RawReader):
                return self._read_long(size, self.raw)
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to a position of the plaintext, as `io.BufferedReader.seek` does, and returns it."""
        with self._locked():
            return super().seek(offset, whence)

    def _read_long(self, size: int, raw: _RawReader) -> bytes:
        size = min(size, raw.size)
        with self._locked():
            # For other threads and all other methods, this is one step. It takes the range.
            try:
                end = super().seek(size, io.SEEK_CUR)
            except OverflowError:
                return super().read(size)
            start = end - size
            if end > raw.size:
                super().seek(max(start, raw.size))
        try:
            return raw.read_range(min(start, raw.size), min(end, raw.size))
        except BaseException:
            with self._locked():
                # Another thread may have moved meanwhile.
                if self.tell() == min(end, max(start, raw.size)):
                    super().seek(start)
            raise

    def read_range(self, start: int, end: int) -> bytes:
        """The plaintext from `start` to `end`. The position stays where it is. Several threads may call it at once."""
        return self.raw.read_range(start, end)  # type: ignore[attr-defined, no-any-return]


class SealedWriter(io.BufferedIOBase):
    """A file that is sealed while it is written.

    Only `close()` makes the file, and a `with` that ends without an exception. After an exception in the `with`, after
    `discard()`, and if the object is only forgotten, there is no file, and a file that it was to replace is as it was.
    """

    def __init__(self, native: _native.Writer, name: Any, mode: str) -> None:
        super().__init__()
        self._native = native
        self._locked = _Locks()
        self._done = False
        self._forgotten = False
        # A signal handler, or the target's own code, can call a method in the middle of another one.
        # The process that is inside `write`. A child of `fork` is not.
        self._is_writing = 0
        self._before: Before | None = Before()
        self.name = name
        self.mode = mode
        _unfinished.add(self)

    @property
    def closed(self) -> bool:
        """Whether the file was made or discarded."""
        return getattr(self, "_done", True)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def writable(self) -> bool:
        """True."""
        self._check_open()
        return True

    def _check_turn(self) -> None:
        self._check_open()
        if self._is_writing == os.getpid():
            raise RuntimeError("reentrant call: this file is being written by the caller of this call")

    def write(self, data: Buffer, /) -> int:
        """Takes all bytes of a buffer, and returns how many these are. It is one step for other threads."""
        if not isinstance(data, bytes):
            # What is no buffer is refused before the file is touched.
            memoryview(data).release()
        with self._locked():
            self._check_turn()
            self._is_writing = os.getpid()
            try:
                return self._native.write(data)
            finally:
                self._is_writing = 0
                if self._done:
                    # It was discarded in the middle of this call.
                    tell(self._native.discard())

    def tell(self) -> int:
        """Bytes of plaintext that were written."""
        with self._locked():
            self._check_turn()
            return self._native.tell()

    def flush(self) -> None:
        """Does nothing: the file appears only when it is closed."""
        if not self._forgotten:
            self._check_open()

    def close(self) -> None:
        """Seals the end, and makes the file.

        It discards instead if Python, and not the caller, closes the file: when a wrapper such as `io.TextIOWrapper` is
        collected, or when an exception ends the `with` of a wrapper.
        """
        with self._locked():
            if self.closed:
                return
            # `io.IOBase.__del__` sets `_finalizing` before it calls `close()`.
            if self._forgotten or getattr(self, "_finalizing", False):
                tell(self._forget())
                return
            leaving = Leaving.NO if self._before is None else leaves_with(self._before)
            if leaving is Leaving.NO:
                self._commit()
                return
            error, left = sys.exception(), self._forget()
            if leaving is Leaving.PERHAPS:
                with contextlib.suppress(Warning):
                    warnings.warn(f"{self.name}: {_NOT_MADE}", RuntimeWarning, stacklevel=2)
            tell(left, error)

    def _commit(self) -> None:
        with self._locked():
            self._check_turn()
            self._done, self._before = True, None
            for warning in self._native.commit():
                warnings.warn(warning, RuntimeWarning, stacklevel=3)

    def discard(self) -> None:
        """Ends the writing without a file. It may be called at any time, and more than once."""
        with self._locked():
            tell(self._forget())

    def _forget(self) -> list[str]:
        """Returns what may be left in S3."""
        self._done, self._before = True, None
        return self._native.discard()

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        with self._locked():
            if kind is not None:
                tell(self._forget(), value)
            elif not self.closed:
                self._commit()

    # A wrapper that is collected calls this before it closes: BufferedWriter, TextIOWrapper.
    def _dealloc_warn(self, source: Any) -> None:
        if not self.closed:
            self._forgotten = True
            warnings.warn(f"discarded, because it was not closed: {source!r}", ResourceWarning, 2, source=source)

    def __del__(self) -> None:
        # Not by `close`, as the base class does it.
        if not self.closed:
            try:
                if not self._forgotten:
                    self._dealloc_warn(self)
            finally:
                tell(self._forget())

    def __reduce__(self) -> Any:
        # A copy would discard the file of the first one.
        raise _not_copied(self)

    def _end(self, deadline: float) -> None:
        """The interpreter ends. A daemon thread can be in the middle of a `write` that never returns."""
        lock = self._locked()
        if lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            try:
                with contextlib.suppress(Warning):
                    tell(self._forget())
            finally:
                lock.release()


_unfinished: weakref.WeakSet[SealedWriter] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    """The interpreter ends: what was not closed is not made, and leaves nothing."""
    deadline = time.monotonic() + _PATIENCE
    for writer in list(_unfinished):
        writer._end(deadline)


@overload
def open(
    file: _native._Path | IO[bytes],
    mode: Literal["rb", "r"] = "rb",
    *,
    keys: _Keys | None = None,
    context: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    kms: _CallsKms | None = None,
    s3: S3 | None = None,
    sync: bool = True,
) -> SealedReader: ...


@overload
def open(
    file: _native._Path | IO[bytes],
    mode: Literal["wb", "w", "xb", "x"],
    *,
    keys: _Keys,
    context: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    kms: _CallsKms | None = None,
    s3: S3 | None = None,
    sync: bool = True,
) -> SealedWriter: ...


def open(
    file: Any,
    mode: str = "rb",
    *,
    keys: Any = None,
    context: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    kms: Any = None,
    s3: Any = None,
    sync: bool = True,
) -> SealedReader | SealedWriter:
    """Opens a sealed file, and returns a binary file object of its plaintext.

    `file` is a path, the name `s3://BUCKET/KEY` of an object, or a binary file object, which stays open.
    `mode` is ``"rb"``, ``"wb"`` (a file that exists is replaced when the new one is complete) or ``"xb"`` (it is refused).
    `keys` is one key or a list: a name such as ``"file:backup.key"`` or ``"alias/backups"``, or a key object. Without keys,
    a file is opened with the keys of the caller's own account in AWS KMS. `context` and `labels` are bound to a file that
    is written, and required of a file that is read. `kms` is `pywaxseal.Kms(...)`, or a session or KMS client of boto3; `s3`
    is `pywaxseal.S3(...)`. With ``sync=False``, a new file may be lost in a power cut.
    """
    name = os.fspath(file) if _is_name(file) else getattr(file, "name", None)
    if mode in ("rb", "r", "br"):
        return _open_reader(file, name, keys, context, labels, kms, s3)
    if mode in ("wb", "w", "bw", "xb", "x", "bx"):
        if isinstance(file, io.TextIOBase):
            raise TypeError("a sealed file is written to a binary file object, and not to text")
        native = _native.open_writer(
            file, keys=keys, overwrite="w" in mode, context=context, labels=labels, kms=kms, s3=s3, sync=sync
        )
        return SealedWriter(native, name, "wb" if "w" in mode else "xb")
    raise ValueError(f"invalid mode: {mode!r}; a sealed file is opened with 'rb', 'wb' or 'xb'")


def _is_name(file: Any) -> bool:
    """Some names of files, such as `py.path.local`, can read and write by themselves."""
    return hasattr(file, "__fspath__") or not (hasattr(file, "read") or hasattr(file, "write"))


def _open_reader(file: Any, name: Any, keys: Any, context: Any, labels: Any, kms: Any, s3: Any) -> SealedReader:
    native: _native.Reader | _native.StreamReader
    if _is_name(file) or _can_seek(file):
        native = _native.open_reader(file, keys=keys, context=context, labels=labels, kms=kms, s3=s3)
    else:
        native = _native.open_stream(file, keys=keys, context=context, labels=labels, kms=kms)
    is_anywhere = isinstance(native, _native.Reader)
    return SealedReader(_RawReader(native, name) if is_anywhere else _Raw(native, name), _BUFFER)  # type: ignore[arg-type]


def _can_seek(file: Any) -> bool:
    if isinstance(file, io.TextIOBase):
        raise TypeError("a sealed file is read from a binary file object, and not from text")
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if seekable is not None else hasattr(file, "seek")
