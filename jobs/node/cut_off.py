"""Cut off: a child whose Job has closed the pipes by which it talks, with all descriptors, as libraries that daemonize do.

It cannot go on, nor say so, but in its beacon. And what the Job opens next gets the same numbers: a file of the Job's must
not be taken for a pipe.
"""

import os

from jobs.node.beacon import Beacon
from jobs.node.log import ERR, say

CLOSED = (
    "the Job closed file descriptors that are not its own (os.closerange, a library that daemonizes?): "
    "close only what you have opened, or do it in a program of its own"
)


class Pipe:
    """A child's pipe upwards, which stands for all that is the launcher's."""

    def __init__(self, descriptor: int, beacon: Beacon) -> None:
        self._descriptor = descriptor
        self._beacon = beacon
        self._identity = _identity(descriptor)

    def check(self, rows: tuple[int, int] | None = None) -> None:
        """To be called after the Job's code: ends this process where its pipe is gone, at these rows if told."""
        if _identity(self._descriptor) == self._identity:
            return
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
