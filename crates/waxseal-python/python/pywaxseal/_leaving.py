"""Whether a `with` is being left with an exception at this moment."""

from __future__ import annotations

import sys
from opcode import opmap

# Python calls `__exit__` with an exception by this instruction, and by no other.
_EXIT_WITH_EXCEPTION = opmap["WITH_EXCEPT_START"]


def leaves_with(handled_before: BaseException | None) -> bool:
    """Whether a caller of this function is the `__exit__` of a `with` that an exception ends.

    `io.TextIOWrapper`, `io.BufferedWriter` and `contextlib.closing` call `close()` in their `__exit__`, also after an
    exception, and do not pass it on. `close()` would take a half-written file for a complete one.

    An exception that is handled since before (`handled_before`) is none of this file's business: an `__exit__` may open
    a file, write what happened, and close it.
    """
    handled = sys.exception()
    if handled is None or handled is handled_before:
        return False
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _EXIT_WITH_EXCEPTION:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
