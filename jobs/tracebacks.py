"""Tracebacks of users' code: as Python prints them, from where that code begins."""

import os
import sys
from collections.abc import Sequence
from types import TracebackType

_HERE = os.path.dirname(os.path.abspath(__file__))
# What calls a Job, or the coroutines of one, and is never what is wrong with it.
_CALLERS = (
    *(f"{_HERE}/{part}" for part in ("node/", "library/", "function.py")),
    *(f"{os.path.dirname(os.__file__)}/{package}/" for package in ("asyncio", "concurrent")),
)


def own_frames(error: BaseException, callers: Sequence[str] = ()) -> TracebackType | None:
    """Those from the first on that is of no caller; the last at least. ``callers``: more of them, as paths begin."""
    frames = error.__traceback__
    while frames and frames.tb_next and frames.tb_frame.f_code.co_filename.startswith((*_CALLERS, *callers)):
        frames = frames.tb_next
    return frames


def print_own(error: BaseException) -> None:
    """Prints the traceback by whatever prints those that nobody catches, which may be the user's own."""
    error = error.with_traceback(own_frames(error))  # Python's own printer looks at no other
    sys.excepthook(type(error), error, error.__traceback__)
