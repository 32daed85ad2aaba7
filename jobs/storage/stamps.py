"""Stamp: how a line of a log begins: when it was begun, and who says it.

``2026-11-29 07:49:08 p0.w1 text``: ``p0`` is process 0, ``p0.w1`` its pool worker 1, ``task`` the array task itself.
"""

import re
import time

TASK = "task"
STAMP = re.compile(rb"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?P<speaker>task|p\d{1,9}(?:\.w\d{1,9})?) ")
"""What lines begin with, but for those of programs and C libraries, and of older versions."""


def speaker(process: int, worker: int | None) -> str:
    """A process, or a pool worker of it."""
    return f"p{process}" if worker is None else f"p{process}.w{worker}"


def stamp(who: str) -> str:
    """By the clock of this machine, in its time zone."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {who} "
