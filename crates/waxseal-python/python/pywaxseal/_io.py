"""File objects over the native half."""

from __future__ import annotations

import atexit
import io
import os
import threading
import warnings
import weakref
from collections.abc import Mapping
from typing import Any, BinaryIO, Literal, overload

from . import _native
from ._native import Inspection

os.register_at_fork(
    before=_native._before_fork,
    after_in_parent=_native._after_fork,
    after_in_child=_native._after_fork,
)

_BUFFER = 64 << 10
# Longer reads are opened where they stay.
_LONG = 256 << 10


class _RawReader(io.RawIOBase):
    """Plaintext at any position."""

    def __init__(self, native: _native.Reader, name: Any) -> None:
        super().__init__()
        self._native = native
        self.name = name
        self.mode = "rb"

    @property
    def size(self) -> int:
        """The length of the plaintext in bytes. It is authenticated."""
        return self._native.size

    @property
    def header(self) -> Inspection:
        """The header of the file. What it binds is authentic."""
        return self._native.header

    @property
    def key(self) -> str:
        """The name of the key that opened the file."""
        return self._native.key

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return True

    def readinto(self, buffer: Any) -> int:
        self._check_open()
        view = memoryview(buffer)
        return self._native.readinto(view if view.format == "B" and view.ndim == 1 else view.cast("B"))

    def readall(self) -> bytes:
        self._check_open()
        return self._native.readall()

    def read_range(self, start: int, end: int) -> bytes:
        """The plaintext from `start` to `end`. The position stays where it is."""
        self._check_open()
        return self._native.read_range(start, end)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check_open()
        return self._native.seek(offset, whence)

    def tell(self) -> int:
        self._check_open()
        return self._native.tell()


class _RawStream(io.RawIOBase):
    """Plaintext in order, of what cannot seek."""

    def __init__(self, native: _native.StreamReader, name: Any) -> None:
        super().__init__()
        self._native = native
        self.name = name
        self.mode = "rb"

    @property
    def header(self) -> Inspection:
        """The header of the file. What it binds is authentic."""
        return self._native.header

    @property
    def key(self) -> str:
        """The name of the key that opened the file."""
        return self._native.key

    def readable(self) -> bool:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return True

    def readinto(self, buffer: Any) -> int:
        self.readable()
        view = memoryview(buffer)
        return self._native.readinto(view if view.format == "B" and view.ndim == 1 else view.cast("B"))


class SealedReader(io.BufferedReader):
    """A sealed file that is read as its plaintext."""

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
        if size is not None and size >= _LONG and isinstance(self.raw, _RawReader):
            start = self.tell()
            data = self.raw.read_range(start, start + size)
            self.seek(start + len(data))
            return data
        return super().read(size)

    def read_range(self, start: int, end: int) -> bytes:
        """The plaintext from `start` to `end`. The position stays where it is. Several threads may call it at once."""
        return self.raw.read_range(start, end)  # type: ignore[attr-defined, no-any-return]


class SealedWriter(io.BufferedIOBase):
    """A file that is sealed while it is written.

    Only `close()` makes the file, and a `with` block that ends without an exception. After an exception in the block,
    after `discard()`, and if the object is only forgotten, there is no file, and a file that it was to replace is as it
    was.
    """

    def __init__(self, native: _native.Writer, name: Any, mode: str) -> None:
        super().__init__()
        self._native = native
        self._lock = threading.RLock()
        self._done = False
        self._forgotten = False
        self.name = name
        self.mode = mode
        _unfinished.add(self)

    @property
    def closed(self) -> bool:
        return getattr(self, "_done", True)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def writable(self) -> bool:
        self._check_open()
        return True

    def write(self, data: Any, /) -> int:
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        with self._lock:
            self._check_open()
            try:
                return self._native.write(data)
            except BufferError:
                return self._native.write(bytes(data))

    def tell(self) -> int:
        """Bytes of plaintext that were written."""
        self._check_open()
        return self._native.tell()

    def flush(self) -> None:
        """Does nothing: the file appears only when it is closed."""
        if not self._forgotten:
            self._check_open()

    def close(self) -> None:
        """Seals the end, and makes the file."""
        with self._lock:
            if self.closed:
                return
            self._done = True
            if self._forgotten:
                self._native.discard()
                return
            for warning in self._native.commit():
                warnings.warn(warning, RuntimeWarning, stacklevel=2)

    def discard(self) -> None:
        """Ends the writing without a file. It may be called at any time, and more than once."""
        with self._lock:
            self._done = True
            self._native.discard()

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    # A wrapper that is collected calls this before it closes: BufferedWriter, TextIOWrapper.
    def _dealloc_warn(self, source: Any) -> None:
        self._forgotten = True

    def __del__(self) -> None:
        # Not by `close`, as the base class does it.
        self._forgotten = True
        if not self.closed:
            self._done = True
            self._native.discard()


_unfinished: weakref.WeakSet[SealedWriter] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    """The interpreter ends: what was not closed is not made, and leaves nothing."""
    for writer in list(_unfinished):
        if not writer.closed:
            writer._forgotten = True
            writer.discard()


@overload
def open(
    file: str | os.PathLike[str] | bytes | BinaryIO,
    mode: Literal["rb", "r"] = "rb",
    *,
    keys: Any = None,
    context: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    kms: Any = None,
    s3: Any = None,
    sync: bool = True,
) -> SealedReader: ...


@overload
def open(
    file: str | os.PathLike[str] | bytes | BinaryIO,
    mode: Literal["wb", "w", "xb", "x"],
    *,
    keys: Any,
    context: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    kms: Any = None,
    s3: Any = None,
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

    `file` is a path, the name `s3://BUCKET/KEY` of an object (for reading), or a binary file object, which stays open.
    `mode` is ``"rb"``, ``"wb"`` (a file that exists is replaced when the new one is complete) or ``"xb"`` (it is refused).
    `keys` is one key or a list: a name such as ``"file:backup.key"`` or ``"alias/backups"``, or a key object. Without keys,
    a file is opened with the keys of the caller's own account in AWS KMS. `context` and `labels` are bound to a file that
    is written, and required of a file that is read. `kms` is `pywaxseal.Kms(...)`, or a session or KMS client of boto3; `s3`
    is `pywaxseal.S3(...)`. With ``sync=False``, a new file may be lost in a power cut.
    """
    name = getattr(file, "name", None) if hasattr(file, "read") or hasattr(file, "write") else file
    if mode in ("rb", "r", "br"):
        return _open_reader(file, name, keys, context, labels, kms, s3)
    if mode in ("wb", "w", "bw", "xb", "x", "bx"):
        native = _native.open_writer(
            file, keys=keys, overwrite="w" in mode, context=context, labels=labels, kms=kms, sync=sync
        )
        return SealedWriter(native, name, "wb" if "w" in mode else "xb")
    raise ValueError(f"invalid mode: {mode!r}; a sealed file is opened with 'rb', 'wb' or 'xb'")


def _open_reader(file: Any, name: Any, keys: Any, context: Any, labels: Any, kms: Any, s3: Any) -> SealedReader:
    raw: io.RawIOBase
    native = None
    if not hasattr(file, "read") or _can_seek(file):
        native = _native.open_reader(file, keys=keys, context=context, labels=labels, kms=kms, s3=s3)
    if native is not None:
        raw = _RawReader(native, name)
    else:
        raw = _RawStream(_native.open_stream(file, keys=keys, context=context, labels=labels, kms=kms), name)
    return SealedReader(raw, _BUFFER)


def _can_seek(file: Any) -> bool:
    if isinstance(file, io.TextIOBase):
        raise TypeError("a sealed file is read from a binary file object, and not from text")
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if seekable is not None else hasattr(file, "seek")
