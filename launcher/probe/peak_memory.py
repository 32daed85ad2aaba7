"""PeakMemory: the most that a process and all below it used, as the limit of an array task counts it."""

import time

from jobs.machine.process_tree import ProcessTree
from jobs.machine.tree_memory import TreeMemory

_INTERVAL = 0.2
# Looking takes at most this share of the time, however many processes there are.
_SHARE = 0.05


class PeakMemory:
    """Of a tree, in ``bytes``, as far as looking now and then can tell; what ends meanwhile counts as nothing."""

    def __init__(self, pid: int) -> None:
        self._tree = ProcessTree(pid)
        self._memory = TreeMemory()
        self._next = 0.0
        self.bytes = 0

    def look(self) -> None:
        """Looks, if it is time to."""
        began = time.monotonic()
        if began < self._next:
            return
        self.bytes = max(self.bytes, sum(self._memory.read(self._tree.look()).values()))
        took = time.monotonic() - began
        self._next = began + max(_INTERVAL, took / _SHARE)
