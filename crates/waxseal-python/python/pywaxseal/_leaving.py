"""Whether a `with` is being left with an exception at this moment."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from inspect import CO_VARARGS
from opcode import opmap
from types import FrameType

# Python calls `__exit__` and `__aexit__` with an exception by this instruction, and by no other.
_EXIT_WITH_EXCEPTION = opmap["WITH_EXCEPT_START"]
# `async with` then awaits what `__aexit__` returned, three instructions later. Python 3.12 stands on its cache.
_AWAIT = opmap["SEND"]
_CACHE = opmap["CACHE"]


class Leaving(enum.Enum):
    """What the callers of a `close()` say."""

    NO = 0
    # Code of somebody's own is between the `with` and the `close()`. It may have handled the exception.
    PERHAPS = 1
    # The `with` has called `close()`, directly or through `contextlib`.
    SURELY = 2


def _is_exit(frame: FrameType) -> bool:
    """Whether an exception ends a `with` of this frame, whose `__exit__` has not returned."""
    at = frame.f_lasti
    if at < 0:
        return False
    # Each instruction and each entry of a cache has two bytes. The last one is where the frame stands.
    *before, here = frame.f_code.co_code[max(at - 10, 0) : at + 2 : 2]
    if here == _CACHE and before:
        *before, here = before
    return here == _EXIT_WITH_EXCEPTION or (here == _AWAIT and _EXIT_WITH_EXCEPTION in before)


def _was_told(frame: FrameType) -> bool:
    """Whether this frame is an `__exit__` or `__aexit__` that was told of an exception.

    A coroutine that was cancelled in its `__aexit__` goes on at another instruction, and `contextlib.ExitStack` hands on
    exceptions that nobody handles at that moment. Their variables still say it.
    """
    if frame.f_code.co_name not in ("__exit__", "__aexit__"):
        return False
    code, told = frame.f_code, frame.f_locals
    count = code.co_argcount + bool(code.co_flags & CO_VARARGS)
    values = [told.get(name) for name in code.co_varnames[:count]]
    flat = (item for value in values for item in (value if isinstance(value, tuple) else (value,)))
    return any(isinstance(item, BaseException) for item in flat)


def _has_ended(frame: FrameType) -> bool:
    """Whether this is the end of a stack of `contextlib` that hands no exception on, perhaps because a callback has ended
    it. The variable has what is handed on now."""
    if frame.f_globals.get("__name__") != "contextlib" or frame.f_code.co_name not in ("__exit__", "__aexit__"):
        return False
    handed_on = frame.f_locals.get("exc_details")
    return isinstance(handed_on, tuple) and all(item is None for item in handed_on)


def _marks(frame: FrameType) -> Iterator[tuple[int, int]]:
    """What of this frame is leaving a `with`. It is the same as long as the same `with` is being left."""
    if _is_exit(frame):
        yield (id(frame), frame.f_lasti)
    if _was_told(frame):
        yield (id(frame), -1)


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_handled(error: BaseException) -> bool:
    """Whether `error` is handled now, perhaps together with newer ones."""
    seen: set[int] = set()
    now = sys.exception()
    while now is not None and id(now) not in seen:
        if now is error:
            return True
        seen.add(id(now))
        now = now.__context__
    return False


class Before:
    """What was being left when a file was opened. It has nothing to do with the file: an `__exit__` may open one, write
    what happened, and close it."""

    def __init__(self) -> None:
        self.handled = sys.exception()
        callers = () if self.handled is None else _callers(sys._getframe(1))
        self._marks = frozenset(mark for frame in callers for mark in _marks(frame))

    def marks(self) -> frozenset[tuple[int, int]]:
        """What is still being left."""
        return self._marks if self.handled is not None and _is_handled(self.handled) else frozenset()


def leaves_with(before: Before) -> Leaving:
    """Whether a caller of this function is the `__exit__` of a `with` that an exception ends.

    `io.TextIOWrapper`, `io.BufferedWriter` and `contextlib.closing` call `close()` in their `__exit__`, also after an
    exception, and do not pass it on. `close()` would take a half-written file for a complete one.
    """
    known = before.marks()
    answer = Leaving.SURELY
    for frame in _callers(sys._getframe(1)):
        module = str(frame.f_globals.get("__name__"))
        of_python = module == "contextlib" or module.partition(".")[0] == "pywaxseal"
        if _has_ended(frame):
            return Leaving.NO
        told = False
        for _, at in (mark for mark in _marks(frame) if mark not in known):
            if at >= 0:
                return answer
            told = True
        if not of_python:
            answer = Leaving.PERHAPS
        if told:
            return answer
    return Leaving.NO
