"""Whether a `with` is being left with an exception at this moment."""

from __future__ import annotations

import enum
import sys
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


Exit = tuple[int, int]


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


def exits() -> frozenset[Exit]:
    """The `with` statements that are being left now. They have nothing to do with a file that is opened now."""
    found: list[Exit] = []
    frame = None if sys.exception() is None else sys._getframe(1)
    while frame is not None:
        if _is_exit(frame):
            found.append((id(frame), frame.f_lasti))
        frame = frame.f_back
    return frozenset(found)


def leaves_with(handled_before: BaseException | None, before: frozenset[Exit] = frozenset()) -> Leaving:
    """Whether a caller of this function is the `__exit__` of a `with` that an exception ends.

    `io.TextIOWrapper`, `io.BufferedWriter` and `contextlib.closing` call `close()` in their `__exit__`, also after an
    exception, and do not pass it on. `close()` would take a half-written file for a complete one.

    An exception that is handled since before (`handled_before`), and a `with` that was being left before, are none of this
    file's business: an `__exit__` may open a file, write what happened, and close it.
    """
    handled = sys.exception()
    if handled is None or handled is handled_before:
        return Leaving.NO
    answer = Leaving.SURELY
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_exit(frame) and (id(frame), frame.f_lasti) not in before:
            return answer
        module = str(frame.f_globals.get("__name__"))
        if module != "contextlib" and module.partition(".")[0] != "pywaxseal":
            answer = Leaving.PERHAPS
        frame = frame.f_back
    return Leaving.NO
