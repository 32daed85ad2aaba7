"""Memory of a process and of all below it, as a Slurm job's limit counts it."""

import time
from collections.abc import Iterator
from pathlib import Path

from jobs.machine.memory import resident

_INTERVAL = 0.2
# Looking takes at most this share of the time, however many processes there are.
_SHARE = 0.05


def tree_memory(pid: int) -> int:
    """Bytes that a process and all its descendants use now; those that end meanwhile count as nothing."""
    return sum(resident(member) for member in _tree(pid))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = [
            child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


class PeakMemory:
    """The most that a process tree used, as far as looking now and then can tell."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._next = 0.0
        self.bytes = 0

    def look(self) -> None:
        """Looks, if it is time to."""
        began = time.monotonic()
        if began < self._next:
            return
        self.bytes = max(self.bytes, tree_memory(self._pid))
        took = time.monotonic() - began
        self._next = began + max(_INTERVAL, took / _SHARE)
