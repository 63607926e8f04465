"""How `pywaxseal.fs` reads: opened headers, sources of sealed bytes, and file objects."""

from __future__ import annotations

import datetime
import io
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pywaxseal as wax

KIB = 1024
MIB = 1024 * KIB

# Opening an object in a store asks for its front and its end at the same time. The longest header has 128 KiB. The end
# stays in memory, sealed, because the first thing that a reader of Parquet asks for is there.
FRONT = 132 * KIB
END = 64 * KIB

# A long range of a store is asked for in pieces, several at the same time.
PIECE = 8 * MIB
BATCH = 8
THREADS = 16

A = TypeVar("A")
B = TypeVar("B")
Identity = tuple[Any, ...]


class ReplacedError(wax.IoError):
    """The object at this path is another one than the one that was opened."""


class Pool:
    """Threads for requests and for opening. After `fork` the child makes its own."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def get(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="waxseal-fs")
            return self._threads

    def each(self, act: Callable[[A], B], items: Sequence[A]) -> list[B]:
        """Acts on all items at the same time. No `act` may call this again: it would wait for a thread that waits."""
        return [act(item) for item in items] if len(items) < 2 else list(self.get().map(act, items))


POOL = Pool()


# An identity that begins with it is of one object alone.
TAG = "tag"


def identity_of(details: dict[str, Any]) -> Identity:
    """What tells this object from a later one with the same name, from what a store says about it."""
    size = details.get("size")
    for name in ("ETag", "etag", "e_tag", "generation", "content_md5"):
        if details.get(name):
            return (TAG, str(details[name]).strip('"'), size)
    names = ("mtime", "ino") if "mtime" in details else ("LastModified", "last_modified", "updated", "created")
    return (*(stamp(details[name]) for name in names if details.get(name) is not None), size)


def is_certain(identity: Identity) -> bool:
    """Whether no other object has it. Two objects can have one time, and one size."""
    return bool(identity[0] == TAG)


def stamp(value: Any) -> Any:
    """A time, whether a listing gives it as a number or as an object."""
    return value.timestamp() if isinstance(value, datetime.datetime) else value


class LocalSource:
    """A local file that stays open: a file that is moved over it later is not seen."""

    is_local = True

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115: it lives as long as this object.
        self.identity = self.now()
        self.size = int(self.identity[2])

    def now(self) -> Identity:
        status = os.fstat(self._file.fileno())
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def fetch(self, start: int, end: int) -> bytes:
        found = os.pread(self._file.fileno(), end - start, start)
        while len(found) < end - start:
            more = os.pread(self._file.fileno(), end - start - len(found), start + len(found))
            if not more:
                break
            found += more
        return found

    def fetch_each(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self.fetch(start, end) for start, end in ranges]

    def close(self) -> None:
        self._file.close()


class StoreSource:
    """An object behind another fsspec file system, named by its path and, where the store keeps versions, its version."""

    is_local = False

    def __init__(self, fs: Any, path: str, identity: Identity, size: int, version: str | None, was_seen: bool = True) -> None:
        self.fs, self.path, self.identity, self.size, self.version = fs, path, identity, size, version
        # Whether the store has just said that this object is the one at this path.
        self.was_seen = was_seen
        self._more = {} if version is None else {"version_id": version}

    def now(self) -> Identity:
        return identity_of(fresh_details(self.fs, self.path))

    def fetch(self, start: int, end: int) -> bytes:
        # Keywords: the second positional argument of s3fs is a version.
        found: bytes = self.fs.cat_file(self.path, start=start, end=end, **self._more)
        return found

    def fetch_each(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if not self.fs.async_impl or len(ranges) < 2:
            return [self.fetch(start, end) for start, end in ranges]
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        paths = [self.path] * len(ranges)
        found: list[bytes] = self.fs.cat_ranges(paths, starts, ends, on_error="raise", **self._more)
        return found

    def close(self) -> None:
        pass


Source = LocalSource | StoreSource


def fresh_details(fs: Any, path: str) -> dict[str, Any]:
    """What the store says now, and not what it said to an earlier listing."""
    if getattr(fs, "dircache", None):
        if takes_refresh(fs):
            details: dict[str, Any] = fs.info(path, refresh=True)
            return details
        fs.invalidate_cache(path)
    details = fs.info(path)
    return details


def takes_refresh(fs: Any) -> bool:
    import inspect

    try:
        return "refresh" in inspect.signature(fs.info).parameters
    except (TypeError, ValueError):
        return False


class Opened:
    """An object whose front and end are authenticated. It holds a data key, so it is never pickled."""

    __slots__ = ("at", "end", "end_start", "identity", "is_second", "ranges", "sealed_size", "size", "version")

    def __init__(self, source: Source, access: dict[str, Any]) -> None:
        front, end, self.end_start = b"", b"", source.size
        if not source.is_local and source.size:
            self.end_start = max(source.size - END, 0)
            wanted = [(0, min(FRONT, self.end_start)), (self.end_start, source.size)]
            wanted = [bounds for bounds in wanted if bounds[0] < bounds[1]]
            *before, end = source.fetch_each(wanted)
            front = before[0] if before else b""
        self.end = end
        first = _First(source, front, self.end_start, end)
        self.ranges = wax.Ranges(source.size, first.fetch, **access)
        first.forget()
        self.identity, self.sealed_size, self.size = source.identity, source.size, self.ranges.size
        self.version = None if isinstance(source, LocalSource) else source.version
        self.at = time.monotonic()
        # Opened after another header of this path had failed.
        self.is_second = False

    def __reduce__(self) -> Any:
        raise TypeError("an opened header holds a data key and cannot be pickled")

    def may_be_old(self) -> bool:
        """Whether the object may have been replaced without a sign. After a failure, only one header a second is opened:
        each can be a call of a key service, and whoever damages an object must not cause many."""
        return not is_certain(self.identity) and not (self.is_second and time.monotonic() - self.at < 1)

    def kept(self, start: int, end: int) -> bytes | None:
        """Sealed bytes that are in memory."""
        if start < self.end_start or not self.end:
            return None
        return self.end[start - self.end_start : end - self.end_start]


class _First:
    """The first requests for an object are answered from its front and its end, if these have it."""

    def __init__(self, source: Source, front: bytes, end_start: int, end: bytes) -> None:
        self._source: Source | None = source
        # A short object is complete here.
        self._front = front + end if len(front) == end_start else front
        self._end_start, self._end = end_start, end

    def fetch(self, start: int, end: int) -> bytes:
        assert self._source is not None, "only the constructor fetches"
        if end <= len(self._front):
            return self._front[start:end]
        if start >= self._end_start and self._end:
            return self._end[start - self._end_start : end - self._end_start]
        return self._source.fetch(start, end)

    def forget(self) -> None:
        self._source, self._front, self._end = None, b"", b""


class Headers:
    """Opened headers, a bounded number for a bounded time. They hold data keys: a forked child forgets them."""

    _all: weakref.WeakSet[Headers] = weakref.WeakSet()

    def __init__(self, entries: int, seconds: float) -> None:
        self._entries, self._seconds = entries, seconds
        self.reset()
        Headers._all.add(self)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._opened: OrderedDict[str, Opened] = OrderedDict()

    def __len__(self) -> int:
        return len(self._opened)

    def __reduce__(self) -> Any:
        raise TypeError("opened headers hold data keys and cannot be pickled")

    def get(self, path: str, identity: Identity | None = None) -> Opened | None:
        """The opened header, if it is not too old and, where an identity is given, of that object."""
        with self._lock:
            opened = self._opened.get(path)
            if opened is None:
                return None
            if time.monotonic() - opened.at >= self._seconds or (identity is not None and opened.identity != identity):
                del self._opened[path]
                return None
            self._opened.move_to_end(path)
            return opened

    def put(self, path: str, opened: Opened) -> None:
        if self._entries < 1 or self._seconds <= 0:
            return
        with self._lock:
            self._opened[path] = opened
            self._opened.move_to_end(path)
            # The oldest first, and those that are too old wherever they are.
            now = time.monotonic()
            for old in [name for name, other in self._opened.items() if now - other.at >= self._seconds]:
                del self._opened[old]
            while len(self._opened) > self._entries:
                self._opened.popitem(last=False)

    def drop(self, path: str | None = None) -> None:
        with self._lock:
            if path is None:
                self._opened.clear()
            else:
                self._opened.pop(path, None)


def _in_child() -> None:
    POOL.reset()
    for headers in list(Headers._all):
        headers.reset()


os.register_at_fork(after_in_child=_in_child)


def read(opened: Opened, source: Source, start: int, end: int) -> bytes:
    """The plaintext of a range. A long range of a store is fetched in pieces, several at the same time."""
    if start >= end:
        return b""
    if source.is_local or end - start <= 2 * PIECE:
        return _open_ranges(opened, source, [(start, end)])[0]
    pieces = [(at, min(at + PIECE, end)) for at in range(start, end, PIECE)]
    batches = [pieces[at : at + BATCH] for at in range(0, len(pieces), BATCH)]
    return b"".join(part for batch in batches for part in _open_ranges(opened, source, batch))


def _open_ranges(opened: Opened, source: Source, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    sealed_ranges = [opened.ranges.sealed_range(start, end) for start, end in ranges]
    # Bytes in memory are those of the object that was opened, whatever is at the path by now.
    is_seen = isinstance(source, StoreSource) and source.was_seen
    kept = opened.kept(*sealed_ranges[0]) if is_seen and len(ranges) == 1 else None
    try:
        found = source.fetch_each(sealed_ranges) if kept is None else [kept]
    except FileNotFoundError:
        raise
    except OSError as error:
        # A store refuses a range beyond the end of what is there now.
        check(opened, source, error)
        raise
    return [open_sealed(opened, source, *bounds, sealed) for bounds, sealed in zip(ranges, found, strict=True)]


def open_sealed(opened: Opened, source: Source, start: int, end: int, sealed: bytes) -> bytes:
    """Opens what was fetched. Bytes of another object never open, because its data key is another one."""
    first, last = opened.ranges.sealed_range(start, end)
    if len(sealed) != last - first:
        check(opened, source, None)
        raise wax.TamperedError(f"{source.path}: the file is cut: {last - first} bytes were asked for, {len(sealed)} came")
    try:
        return opened.ranges.open_range(start, end, sealed)
    except (wax.TamperedError, wax.FormatError) as error:
        check(opened, source, error)
        raise named(error, source.path) from error


def named(error: wax.Error, path: str) -> wax.Error:
    """The same error, which names the object."""
    if path in str(error):
        return error
    made = type(error)(f"{path}: {error}")
    made.__dict__.update(error.__dict__)
    if isinstance(made, OSError) and isinstance(error, OSError):
        made.errno, made.strerror = error.errno, error.strerror
    return made


def check(opened: Opened, source: Source, error: Exception | None) -> None:
    """Says that the object was replaced, if it was. Otherwise the error says all that is known."""
    try:
        now = source.now()
    except FileNotFoundError:
        now = ()
    except Exception:
        return
    if now != opened.identity:
        gone = "was removed" if now == () else "was replaced by another one"
        raise ReplacedError(f"{source.path}: the object {gone} while it was read") from error


# How far ahead of a read that continues the last one. It doubles from the first to the last.
FIRST_AHEAD = 256 * KIB
LOCAL_AHEAD = 1 * MIB
STORE_AHEAD = 8 * MIB
# A read elsewhere asks for at least this.
LOCAL_LEAST = 16 * KIB
STORE_LEAST = 64 * KIB


class SealedFile(io.BufferedIOBase):
    """A sealed object as a seekable binary file. It reads the object that was opened, and no other.

    A read that continues the last one reads ahead. Any other read fetches what was asked for and little more, so that
    engines that read parts of a file fetch parts of it.

    DuckDB reads with several threads from one file: each seeks, and then reads. Another thread may seek in between. So a
    thread that has sought reads where it has sought. A thread that has not reads on from the last position of all.
    """

    mode = "rb"

    def __init__(
        self,
        fs: Any,
        path: str,
        opened: Opened,
        source: Source,
        ahead: int | None = None,
        given: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.fs, self.path, self.name = fs, path, path
        self.size, self.sealed_size, self._identity = opened.size, opened.sealed_size, opened.identity
        self._opened: Opened | None = opened
        self._source = source
        # Keys and demands of this file alone.
        self._given = {name: value for name, value in (given or {}).items() if value is not None}
        self._lock = threading.Lock()
        self._at = 0
        self._sought: dict[int, int] = {}
        self._window, self._window_at = b"", 0
        self._end, self._end_at = b"", opened.size
        self._next, self._reach = 0, 0
        local = source.is_local
        self._least = LOCAL_LEAST if local else STORE_LEAST
        self._limit = (LOCAL_AHEAD if local else STORE_AHEAD) if ahead is None else ahead
        self.blocksize = self._limit
        if ahead == 0:
            self._least = 0

    def __repr__(self) -> str:
        return f"<SealedFile {self.path!r}>"

    @property
    def full_name(self) -> str:
        name: str = self.fs.unstrip_protocol(self.path)
        return name

    @property
    def details(self) -> dict[str, Any]:
        return {"name": self.path, "type": "file", "size": self.size, "sealed_size": self.sealed_size}

    def info(self) -> dict[str, Any]:
        return self.details

    def readable(self) -> bool:
        self._alive()
        return True

    def seekable(self) -> bool:
        self._alive()
        return True

    def _alive(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def tell(self) -> int:
        self._alive()
        with self._lock:
            return self._sought.get(threading.get_ident(), self._at)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._alive()
        bases = {0: 0, 1: self.tell(), 2: self.size}
        if whence not in bases:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        target = bases[whence] + int(offset)
        if target < 0:
            raise ValueError("seek before the start of the file")
        with self._lock:
            self._at = self._sought[threading.get_ident()] = target
        return target

    def read(self, size: int | None = -1) -> bytes:
        self._alive()
        with self._lock:
            at = self._position()
            start = min(at, self.size)
            end = self.size if size is None or size < 0 else min(start + size, self.size)
            self._at = max(at, end)
        try:
            return self._range(start, end)
        except BaseException:
            with self._lock:
                self._at = at if self._at == max(at, end) else self._at
            raise

    def _position(self) -> int:
        """Where this thread reads now. A thread that reads without a `seek` goes on where others have stopped."""
        sought = self._sought.pop(threading.get_ident(), None)
        if sought is None:
            self._sought.clear()
            return self._at
        return sought

    def read1(self, size: int = -1) -> bytes:
        return self.read(64 * KIB if size is None or size < 0 else size)

    def readinto(self, buffer: Any) -> int:
        # The views are released also after an exception, whose traceback would keep them.
        with memoryview(buffer) as view:
            if view.readonly:
                raise TypeError("the buffer cannot be written")
            if not view.nbytes:
                self._alive()
                return 0
            with view.cast("B") as into:
                found = self.read(into.nbytes)
                into[: len(found)] = found
                return len(found)

    readinto1 = readinto

    def peek(self, size: int = 0) -> bytes:
        start = min(self.tell(), self.size)
        return self._range(start, min(start + max(size, 4 * KIB), self.size))

    def read_at(self, start: int, end: int) -> bytes:
        """A range, without the position and the bytes read ahead. Threads can call it at the same time."""
        return self._read(start, min(end, self.size))

    def _read(self, start: int, end: int) -> bytes:
        opened = self._opened
        if opened is None:
            raise ValueError("I/O operation on closed file")
        try:
            return read(opened, self._source, start, end)
        except (OSError, wax.Error) as error:
            # Another thread has closed it in the middle. Its descriptor can be of another file by now.
            self._alive()
            if isinstance(error, wax.TamperedError | wax.FormatError) and not is_certain(self._identity):
                # Perhaps the object was replaced in a store that does not show it. The next file opens it anew.
                self.fs._headers.drop(self.path)
            raise

    def _range(self, start: int, end: int) -> bytes:
        """Fetches outside of the lock, so that threads fetch at the same time."""
        parts: list[bytes] = []
        while start < end:
            with self._lock:
                part = self._in_memory(start, end)
                bounds = None if part else self._to_fetch(start, end)
            if bounds is not None:
                part = self._fetched(start, end, *bounds)
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _in_memory(self, start: int, end: int) -> bytes:
        for data, at in ((self._window, self._window_at), (self._end, self._end_at)):
            if at <= start < at + len(data):
                return data if (start, end) == (at, at + len(data)) else data[start - at : end - at]
        return b""

    def _to_fetch(self, start: int, end: int) -> tuple[int, int]:
        if start == self._next and self._limit:
            self._reach = min(max(2 * self._reach, FIRST_AHEAD), self._limit)
        else:
            self._reach = 0
        last = min(max(end, start + self._reach, start + self._least), self.size)
        self._next = last
        # A short read at the end fetches all of the end: the next read asks for what is before it.
        near = self.size - (END - 4 * KIB)
        is_short = self._least and last == self.size and start >= near > 0 and not self._end
        return (near if is_short else start), last

    def _fetched(self, start: int, end: int, first: int, last: int) -> bytes:
        found = self._read(first, last)
        if (first, last) == (start, end):
            return found
        with self._lock:
            if last == self.size and len(found) <= END:
                self._end, self._end_at = found, first
            else:
                self._window, self._window_at = found, first
        return found[start - first : end - first]

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._opened = None
            self._window = self._end = b""
            self._source.close()

    def __reduce__(self) -> Any:
        self._alive()
        return _reopen, (self.fs, self.path, self._identity, self.tell(), self._limit, self._given)


def _reopen(fs: Any, path: str, identity: Identity, at: int, ahead: int, given: dict[str, Any]) -> SealedFile:
    file: SealedFile = fs._open(path, "rb", block_size=ahead, **given)
    if file._identity != tuple(identity):
        file.close()
        raise ReplacedError(f"{path}: the object was replaced by another one after it was opened")
    file.seek(at)
    return file


def copy_out(file: SealedFile, write: Callable[[bytes], Any], progress: Callable[[int], None]) -> None:
    """Writes all plaintext, piece by piece."""
    for start in range(0, file.size, PIECE):
        piece = file.read_at(start, start + PIECE)
        write(piece)
        progress(len(piece))


def distinct(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
