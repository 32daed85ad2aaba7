"""Border: between the Job's code and the launcher's, in a child: what the one has left behind must not meet the other.

A timer (``signal.alarm``, ``setitimer``) stands still while ours runs. Its handler raises, as a rule, to end a sample that
takes too long; where the Job has not switched it off, that would come in the middle of a wait or a message, which would take
it for a broken pipe or disk.

A Job that closes all file descriptors, as libraries that daemonize do, closes the pipe by which its child talks. That cannot
go on, nor say so, but in its beacon. And what the Job opens next gets the same numbers: a file of the Job's must not be taken
for a pipe.
"""

import os
import signal

from jobs.node.beacon import Beacon
from jobs.node.log import ERR, say

CLOSED = (
    "the Job closed file descriptors that are not its own (os.closerange, a library that daemonizes?): "
    "close only what you have opened, or do it in a program of its own"
)
_OFF = (0.0, 0.0)


class Border:
    """``pipe``, the child's way to talk, stands for all descriptors that are the launcher's."""

    def __init__(self, pipe: int, beacon: Beacon) -> None:
        self._pipe = pipe
        self._beacon = beacon
        self._identity = _identity(pipe)
        self._timer = _OFF

    def cross(self) -> None:
        """To be called before the Job's code."""
        if self._timer[0]:
            timer, self._timer = self._timer, _OFF
            signal.setitimer(signal.ITIMER_REAL, *timer)

    def come_back(self, rows: tuple[int, int] | None = None) -> None:
        """To be called after the Job's code: ends this process where its pipe is gone, at these rows if told."""
        timer = signal.setitimer(signal.ITIMER_REAL, 0)
        if timer[0]:
            self._timer = timer
        if _identity(self._pipe) != self._identity:
            self._leave(rows)

    def _leave(self, rows: tuple[int, int] | None) -> None:
        try:
            if rows:
                self._beacon.at(*rows)
            self._beacon.cut_off()
            say(f"{CLOSED}; this process ends", ERR)
        finally:  # stdout may be gone, too
            os._exit(os.EX_SOFTWARE)


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
