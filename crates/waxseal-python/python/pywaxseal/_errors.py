"""The exceptions. Each says who must act, as the exit codes of the program do."""

from __future__ import annotations

import contextlib
import errno as _errno
import os
import warnings
from typing import Any


class Error(Exception):
    """Any failure of waxseal.

    ``exit_code`` is the code with which the program ``waxseal`` would end. ``hint`` says what to do, where that is known.
    ``failed_at`` is the position in the plaintext where authentication failed. ``request_id`` is the id of a request to a
    key service or store, for its operators.
    """

    exit_code = 1
    hint: str | None = None
    failed_at: int | None = None
    request_id: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        failed_at: int | None = None,
        request_id: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.failed_at = failed_at
        self.request_id = request_id
        this: Exception = self
        if isinstance(this, OSError) and errno is not None:
            this.errno = errno
            this.strerror = os.strerror(errno)
        if hint is not None:
            self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        name = getattr(self, "filename", None)
        return message if name is None else f"{os.fspath(name)}: {message}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        this: Exception = self
        if isinstance(this, OSError) and this.errno is not None:
            state["errno"] = this.errno
            state["strerror"] = this.strerror
        if isinstance(this, OSError) and this.filename is not None:
            state["filename"] = this.filename
        return (type(self), self.args, state)


class Bug(Error):
    """A bug of waxseal: please report it."""


class UsageError(Error, ValueError):
    """What the caller gave cannot be used."""

    exit_code = 2


class FormatError(Error):
    """Not a sealed file, a damaged or truncated header, or a newer version."""

    exit_code = 3


class TamperedError(Error):
    """Authentication failed: the file was altered or truncated."""

    exit_code = 4


class NoKeyError(Error):
    """No key opens the file, or the key service refused."""

    exit_code = 5


class UnavailableError(Error, ConnectionError):
    """The key service or the store cannot be reached or throttles: the same may succeed later."""

    exit_code = 6


class IoError(Error, OSError):
    """The system refused. It is also a ``PermissionError``, an ``IsADirectoryError`` and so on, by its ``errno``."""

    exit_code = 7


class UnmetError(Error):
    """The file does not have the pairs or labels that were asked for, or the output exists."""

    exit_code = 8


class ExistsError(UnmetError, FileExistsError):
    """The output exists, and must not be replaced."""


class NotFoundError(Error, FileNotFoundError):
    """The input does not exist, but its folder or bucket does."""

    exit_code = 10


class _IoPermission(IoError, PermissionError):
    pass


class _IoNotFound(IoError, FileNotFoundError):
    pass


class _IoIsADirectory(IoError, IsADirectoryError):
    pass


class _IoNotADirectory(IoError, NotADirectoryError):
    pass


class _IoBrokenPipe(IoError, BrokenPipeError):
    pass


_BY_ERRNO: dict[int, type[IoError]] = {
    _errno.EACCES: _IoPermission,
    _errno.EPERM: _IoPermission,
    _errno.ENOENT: _IoNotFound,
    _errno.EISDIR: _IoIsADirectory,
    _errno.ENOTDIR: _IoNotADirectory,
    _errno.EPIPE: _IoBrokenPipe,
}


def make(name: str, message: str, **details: Any) -> Error:
    """The exception for an error of the native half."""
    kind: type[Error] = globals()[name]
    if kind is IoError:
        kind = _BY_ERRNO.get(details.get("errno") or 0, IoError)
    return kind(message, **details)


def tell(left: list[str], error: BaseException | None = None) -> None:
    """Says what is left in S3, in notes of the exception that is on its way. The exception matters more than the notes."""
    for text in left:
        if error is None:
            warnings.warn(text, RuntimeWarning, stacklevel=3)
            continue
        # Python prints no others: not `SystemExit`, and not those that end a generator or a task.
        if isinstance(error, Exception | KeyboardInterrupt):
            with contextlib.suppress(Exception):
                error.add_note(text)
                continue
        with contextlib.suppress(Warning):
            warnings.warn(text, RuntimeWarning, stacklevel=3)


# Whoever sees one sees the name by which it can be caught.
for _kind in (
    Error,
    Bug,
    UsageError,
    FormatError,
    TamperedError,
    NoKeyError,
    UnavailableError,
    IoError,
    UnmetError,
    ExistsError,
    NotFoundError,
):
    _kind.__module__ = "pywaxseal"
