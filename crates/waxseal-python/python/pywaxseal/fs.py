"""Sealed objects for every library that knows fsspec: `waxseal::s3://bucket/x.parquet`, `waxseal::file:///data/x.csv`.

    options = {"waxseal": {"keys": ["alias/lake"]}}
    with fsspec.open("waxseal::s3://bucket/x.csv", "rb", **options) as file:
        file.read()
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import fsspec
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.implementations.chained import ChainedFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.utils import isfilelike, tokenize

import pywaxseal as wax
from pywaxseal import _fs_read as reading
from pywaxseal import _fs_write as writing
from pywaxseal._fs_read import Headers, LocalSource, Opened, ReplacedError, SealedFile, Source, StoreSource
from pywaxseal._fs_write import SealedFileWriter

__all__ = ["ReplacedError", "SealedFile", "SealedFileWriter", "WaxsealFileSystem"]

T = TypeVar("T")
Bounds = tuple[str, int, int]

# A listing shows these files without a size. Whoever opens them gets the error.
NOT_OPENED = (wax.FormatError, wax.TamperedError, wax.NoKeyError, wax.UnmetError, FileNotFoundError, PermissionError)


def is_plain(value: Any) -> bool:
    """Whether two values with the same text are the same: only then may fsspec give one file system to both."""
    if isinstance(value, list | tuple):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(is_plain(item) for pair in value.items() for item in pair)
    return value is None or isinstance(value, str | int | float)


class _Instances(type(ChainedFileSystem)):  # type: ignore[misc]
    """fsspec finds an instance by the text of its arguments. The text of a key object does not show the key."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if not all(is_plain(kwargs.get(name)) for name in ("keys", "context", "labels", "kms")):
            kwargs["skip_instance_cache"] = True
        return super().__call__(*args, **kwargs)


class WaxsealFileSystem(ChainedFileSystem, metaclass=_Instances):  # type: ignore[misc]
    """Shows the plaintext of sealed objects in another fsspec file system.

    Parameters
    ----------
    fs, target_protocol, target_options:
        The file system with the sealed objects, or how to make it. Chained URLs set the latter two.
    keys, context, labels, kms:
        As for `pywaxseal.open`. `context` and `labels` can be functions of the path. File systems travel to other
        processes with their arguments, so keys must be names there (`file:PATH`, `alias/NAME`): key objects are refused.
    cache_entries, cache_seconds:
        How many opened headers, which hold data keys, stay in memory, and how long. 0 keeps none.
    sync:
        Whether a local file is on the disk before it gets its name.
    """

    protocol = "waxseal"
    async_impl = False
    _strip_tokenize_options = ("fo",)

    def __init__(
        self,
        fs: Any = None,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        *,
        keys: Any = None,
        context: Any = None,
        labels: Any = None,
        kms: Any = None,
        cache_entries: int = 256,
        cache_seconds: float = 300.0,
        sync: bool = True,
        fo: Any = None,
        **storage_options: Any,
    ) -> None:
        super().__init__(**storage_options)
        if storage_options.get("asynchronous"):
            raise wax.UsageError("this file system is synchronous: call it in a thread, or wrap it in AsyncFileSystemWrapper")
        if fs is None and target_protocol is None:
            raise wax.UsageError("name the file system with the sealed objects: waxseal::s3://..., fs= or target_protocol=")
        self._inner = fs if fs is not None else fsspec.filesystem(target_protocol, **(target_options or {}))
        if getattr(self._inner, "asynchronous", False):
            raise wax.UsageError("the file system with the sealed objects must not be asynchronous")
        self._pid = os.getpid()
        self._is_local = type(self._inner) is LocalFileSystem
        self._access_of = {"keys": keys, "context": context, "labels": labels, "kms": kms}
        self._sync = sync
        self._headers = Headers(cache_entries, cache_seconds)
        # Paths are those of the other file system.
        self._strip_protocol = self._path_of  # type: ignore[method-assign]
        self._parent = self._parent_of

    @property
    def fs(self) -> Any:
        """The file system with the sealed objects."""
        if self._pid != os.getpid():
            self._after_fork()
        return self._inner

    def _after_fork(self) -> None:
        # The threads of an asynchronous file system are those of the parent.
        if self._inner.async_impl:
            self._inner = type(self._inner)(*self._inner.storage_args, **self._inner.storage_options)
        self._pid = os.getpid()

    def __reduce__(self) -> Any:
        kms = self._access_of["kms"]
        if kms is not None and not isinstance(kms, wax.Kms):
            raise TypeError("a file system with a KMS client cannot be pickled: use kms=pywaxseal.Kms(...)")
        return super().__reduce__()

    @property
    def _fs_token(self) -> str:
        own = all(is_plain(value) for value in self._access_of.values())
        token: str = self._fs_token_ if own else tokenize(self._fs_token_, id(self))
        return token

    # Paths

    def _path_of(self, path: Any) -> Any:
        if isinstance(path, list):
            return [self._path_of(item) for item in path]
        return self.fs._strip_protocol(type(self)._strip_protocol(path))

    def _parent_of(self, path: str) -> str:
        parent: str = self.fs._parent(self._path_of(path))
        return parent

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        path = fsspec.utils.stringify_path(path)
        for start in ("waxseal://", "waxseal::"):
            if isinstance(path, str) and path.startswith(start):
                path = path[len(start) :]
        return path

    # Headers

    def _access(self, path: str, given: dict[str, Any]) -> dict[str, Any]:
        access = self._access_of | {name: given[name] for name in self._access_of if given.get(name) is not None}
        for name in ("context", "labels"):
            if callable(access[name]):
                access[name] = access[name](path)
        return {name: value for name, value in access.items() if value is not None}

    def _pin(self, path: str, details: dict[str, Any] | None = None, **given: Any) -> tuple[Opened, Source]:
        """The opened header of the object that is at this path, and the source of its bytes. Closes the source itself
        only if it fails."""
        source = self._source(path, details)
        try:
            return self._opened(path, source, given), source
        except (wax.FormatError, wax.TamperedError, OSError) as error:
            source.close()
            if self._is_local or isinstance(error, FileNotFoundError):
                raise
            # The store's listing may be older than the object.
            fresh = self._store_source(path, reading.fresh_details(self.fs, path))
            if fresh.identity == source.identity:
                raise
            return self._opened(path, fresh, given), fresh
        except BaseException:
            source.close()
            raise

    def _opened(self, path: str, source: Source, given: dict[str, Any]) -> Opened:
        own = any(given.get(name) is not None for name in self._access_of)
        opened = None if own else self._headers.get(path, source.identity)
        if opened is None:
            try:
                opened = Opened(source, self._access(path, given))
            except wax.Error as error:
                raise reading.named(error, path) from error
            if not own:
                self._headers.put(path, opened)
        return opened

    def _source(self, path: str, details: dict[str, Any] | None = None) -> Source:
        if self._is_local:
            return LocalSource(path)
        return self._store_source(path, details or self.fs.info(path))

    def _store_source(self, path: str, details: dict[str, Any]) -> StoreSource:
        if details["type"] == "directory":
            raise IsADirectoryError(path)
        if details.get("size") is None:
            raise wax.IoError(f"{path}: the store does not say how long the object is")
        version = details.get("VersionId") if getattr(self.fs, "version_aware", False) else None
        version = None if version in (None, "null") else version
        identity = reading.identity_of(details)
        # A size alone does not tell an object from a later one.
        return StoreSource(self.fs, path, identity, details["size"], version, was_seen=len(identity) > 1)

    def _current(self, path: str) -> tuple[Opened, Source]:
        """As `_pin`, without a request if the header is known: it opens nothing but the bytes of its own object."""
        opened = None if self._is_local else self._headers.get(path)
        if opened is None:
            return self._pin(path)
        return opened, StoreSource(self.fs, path, opened.identity, opened.sealed_size, opened.version, was_seen=False)

    def _reading(self, path: str, act: Callable[[Opened, Source], T]) -> T:
        """Acts on an object. If another one is there by now, acts once more, on that one."""
        opened, source = self._current(path)
        try:
            return act(opened, source)
        except (ReplacedError, wax.TamperedError, wax.FormatError) as error:
            # Some stores have no ETags, and coarse times or none: nothing shows there that the object of a known header
            # was replaced by one of the same length.
            is_replaced = isinstance(error, ReplacedError)
            if not is_replaced and (source.is_local or not opened.may_be_old()):
                raise
            self._headers.drop(path)
            source.close()
            opened, source = self._pin(path, None if self._is_local else reading.fresh_details(self.fs, path))
            opened.is_second = not is_replaced
            return act(opened, source)
        finally:
            source.close()

    def _was_written(self, path: str) -> None:
        self.invalidate_cache(path)

    def invalidate_cache(self, path: str | None = None) -> None:
        super().invalidate_cache(path)
        if path is None:
            self._headers.drop()
            self.fs.invalidate_cache()
        else:
            path = self._path_of(path)
            self._headers.drop(path)
            self.fs.invalidate_cache(path)

    # Names and sizes

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        details = self.fs.info(self._path_of(path), **kwargs)
        return self._with_size(details)

    def _with_size(self, details: dict[str, Any]) -> dict[str, Any]:
        if details.get("type") != "file":
            return dict(details)
        opened, source = self._pin(details["name"], details)
        source.close()
        return {**details, "size": opened.size, "sealed_size": opened.sealed_size}

    def _with_sizes(self, listing: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The authenticated size of each file. Files that do not open have none, and an error."""

        def act(details: dict[str, Any]) -> dict[str, Any]:
            try:
                return self._with_size(details)
            except NOT_OPENED as error:
                return {**details, "size": None, "sealed_size": details["size"], "error": str(error)}

        return self._each(act, listing)

    def _each(self, act: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
        # Other file systems may not be safe in threads.
        if self.fs.async_impl or isinstance(self.fs, LocalFileSystem | MemoryFileSystem):
            return reading.POOL.each(act, items)
        return [act(item) for item in items]

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        listing: list[Any] = self.fs.ls(self._path_of(path), detail=detail, **kwargs)
        return self._with_sizes(listing) if detail else listing

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any) -> Any:
        found = self.fs.find(self._path_of(path), maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs)
        return self._sized_dict(found) if detail else found

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        detail = kwargs.pop("detail", False)
        ends = "/" if path.endswith("/") else ""
        found = self.fs.glob(self._path_of(path) + ends, maxdepth=maxdepth, detail=detail, **kwargs)
        return self._sized_dict(found) if detail else found

    def _sized_dict(self, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        names = list(found)
        listing = [found[name] if "type" in found[name] else self.fs.info(name) for name in names]
        return dict(zip(names, self._with_sizes(listing), strict=True))

    def walk(self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: Any = "omit", **kwargs: Any) -> Any:
        if kwargs.get("detail"):
            yield from super().walk(path, maxdepth=maxdepth, topdown=topdown, on_error=on_error, **kwargs)
        else:
            path = self._path_of(path)
            yield from self.fs.walk(path, maxdepth=maxdepth, topdown=topdown, on_error=on_error, **kwargs)

    def sizes(self, paths: list[str]) -> list[int | None]:
        return self._each(self.size, paths)

    def exists(self, path: str, **kwargs: Any) -> bool:
        return bool(self.fs.exists(self._path_of(path), **kwargs))

    def lexists(self, path: str, **kwargs: Any) -> bool:
        return bool(self.fs.lexists(self._path_of(path), **kwargs))

    def isfile(self, path: str) -> bool:
        return bool(self.fs.isfile(self._path_of(path)))

    def isdir(self, path: str) -> bool:
        return bool(self.fs.isdir(self._path_of(path)))

    def modified(self, path: str) -> Any:
        return self.fs.modified(self._path_of(path))

    def created(self, path: str) -> Any:
        return self.fs.created(self._path_of(path))

    def checksum(self, path: str) -> Any:
        return self.fs.checksum(self._path_of(path))

    def ukey(self, path: str) -> Any:
        return self.fs.ukey(self._path_of(path))

    # Reading

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        path = self._path_of(path)
        if any(kwargs.get(name) is not None for name in self._access_of):
            opened, source = self._pin(path, **kwargs)
            try:
                return reading.read(opened, source, *bounds_of(opened.size, start, end))
            finally:
                source.close()
        return self._reading(path, lambda opened, source: self._cat(opened, source, start, end))

    def _cat(self, opened: Opened, source: Source, start: int | None, end: int | None) -> bytes:
        first, last = bounds_of(opened.size, start, end)
        # Nothing is opened then, so nothing would show that the object is another one by now.
        if first == last and (start is None or start != end) and source.now() != opened.identity:
            raise ReplacedError(f"{source.path}: the object was replaced by another one")
        return reading.read(opened, source, first, last)

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        if max_gap is not None:
            raise NotImplementedError("max_gap")
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        paths = [self._path_of(path) for path in paths]
        starts, ends = [
            list(bounds) if isinstance(bounds, Iterable) else [bounds] * len(paths) for bounds in (starts, ends)
        ]
        if not len(starts) == len(ends) == len(paths):
            raise ValueError("paths, starts and ends must have the same length")
        wanted = list(zip(paths, starts, ends, strict=True))
        found = self._cat_together(wanted, kwargs) if self.fs.async_impl else [None] * len(wanted)
        for index, bounds in enumerate(wanted):
            if found[index] is None:
                found[index] = self._cat_alone(bounds, on_error, kwargs)
        return found

    def _cat_alone(self, bounds: tuple[str, Any, Any], on_error: str, kwargs: dict[str, Any]) -> Any:
        path, start, end = bounds
        try:
            return self.cat_file(path, start=start, end=end, **kwargs)
        except Exception as error:
            if on_error == "return":
                return error
            raise

    def _cat_together(self, wanted: Sequence[tuple[str, Any, Any]], kwargs: dict[str, Any]) -> list[Any]:
        """Fetches all ranges at the same time. What is None here failed: `_cat_alone` tries it again, and says why."""
        if kwargs or len(wanted) < 2:
            return [None] * len(wanted)

        def current(path: str) -> Any:
            try:
                return self._current(path)
            except Exception:
                return None

        names = reading.distinct([path for path, _, _ in wanted])
        opened = dict(zip(names, reading.POOL.each(current, names), strict=True))
        jobs = [self._job(index, opened[path], start, end) for index, (path, start, end) in enumerate(wanted)]
        asked = [job for job in jobs if job is not None]
        sealed = self.fs.cat_ranges(
            [job[1][1].path for job in asked],
            [job[3][0] for job in asked],
            [job[3][1] for job in asked],
            on_error="return",
        )

        def unseal(item: tuple[Any, Any]) -> tuple[int, bytes | None]:
            (index, (header, source), (start, end), _), data = item
            try:
                if isinstance(data, Exception):
                    return index, None
                return index, reading.open_sealed(header, source, start, end, data)
            except Exception:
                return index, None

        found: list[Any] = [None] * len(wanted)
        for index, data in reading.POOL.each(unseal, list(zip(asked, sealed, strict=True))):
            found[index] = data
        return found

    @staticmethod
    def _job(index: int, pinned: Any, start: int | None, end: int | None) -> Any:
        if pinned is None or pinned[1].version is not None:
            return None
        bounds = bounds_of(pinned[0].size, start, end)
        return (index, pinned, bounds, pinned[0].ranges.sealed_range(*bounds)) if bounds[0] < bounds[1] else None

    def get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any) -> None:
        if outfile is None and isfilelike(lpath):
            outfile = lpath
        rpath = self._path_of(rpath)
        if outfile is None and self.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)
            return
        with self.open(rpath, "rb", **kwargs) as file:
            callback.set_size(file.size)
            if outfile is not None:
                reading.copy_out(file, outfile.write, callback.relative_update)
            else:
                get_to(file, os.fspath(lpath), callback)

    # Writing

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        path = self._path_of(path)
        given = {name: kwargs.get(name) for name in self._access_of}
        if mode == "rb":
            ahead = 0 if kwargs.get("cache_type") == "none" else block_size
            return SealedFile(self, path, *self._pin(path, **given), ahead, given)
        if mode not in ("wb", "xb"):
            raise wax.UsageError(f"a sealed file cannot be opened with the mode {mode!r}: it is read, or written anew")
        target = writing.sink(self.fs, path, mode == "xb", self._sync, block_size, self._access(path, given))
        return SealedFileWriter(self, path, target, autocommit)

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        if "r" in mode or ("b" in mode and compression is None):
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        text = {name: kwargs.pop(name) for name in ("encoding", "errors", "newline") if name in kwargs}
        raw = super().open(path, mode.replace("t", "").replace("b", "") + "b", block_size, cache_options, **kwargs)
        if compression is not None:
            from fsspec.compression import compr

            kind = fsspec.core.get_compression(path, compression)
            raw = raw if kind is None else writing.CompressedWriter(compr[kind](raw, mode="w"), raw)
        return raw if "b" in mode else writing.TextWriter(raw, **text)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        if truncate or not self.exists(path):
            with self.open(path, "wb", **kwargs):
                pass
        else:
            self.fs.touch(self._path_of(path), truncate=False, **kwargs)

    # Sealed bytes move as they are

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        path1, path2 = self._path_of(path1), self._path_of(path2)
        self.fs.cp_file(path1, path2, **kwargs)
        self._was_written(path2)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        path1, path2 = self._path_of(path1), self._path_of(path2)
        self.fs.mv(path1, path2, **kwargs)
        self._headers.drop()

    def rm_file(self, path: str) -> None:
        path = self._path_of(path)
        self.fs.rm_file(path)
        self._headers.drop(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        more = {} if maxdepth is None else {"maxdepth": maxdepth}
        self.fs.rm(self._path_of(path), recursive=recursive, **more)
        self._headers.drop()

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        self.fs.mkdir(self._path_of(path), create_parents=create_parents, **kwargs)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.fs.makedirs(self._path_of(path), exist_ok=exist_ok)

    def rmdir(self, path: str) -> None:
        self.fs.rmdir(self._path_of(path))


def bounds_of(size: int, start: int | None, end: int | None) -> tuple[int, int]:
    """As a slice counts: from the end if negative."""
    first, last, _ = slice(start, end).indices(size)
    return first, max(first, last)


def get_to(file: SealedFile, path: str, callback: Any) -> None:
    """Writes the plaintext to a new file, which gets its name when it is complete."""
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name[:50]}.{os.urandom(8).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb", buffering=0) as out:
            reading.copy_out(file, lambda piece: write_all(out, piece), callback.relative_update)
        os.replace(temporary, path)
    except BaseException:
        # After ctrl-c it may have its name already.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_all(out: Any, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[out.write(left) :]
