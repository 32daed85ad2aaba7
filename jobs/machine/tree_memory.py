"""TreeMemory: what the processes of a tree take of the memory, each its part of what they share."""

import ctypes
import os
import time
from collections.abc import Mapping
from typing import NamedTuple

from jobs.machine import memory
from jobs.machine.process_stat import ProcessStat

# What a process takes costs the kernel a millisecond and more to find out, in which that process gets no new pages. So it
# is asked where the pages changed by this share of all, and again after this many seconds: a page that a process no longer
# shares changes nothing there.
_CHANGE = 0.01
EXACT_SECONDS = 5.0
_KCMP = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine)
_KCMP_VM = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Size(NamedTuple):
    pages: int
    bytes: int
    is_shared: bool


class TreeMemory:
    """Read again and again, it asks the kernel for what has changed; ``is_exact``: the last time for all."""

    def __init__(self) -> None:
        self.is_exact = False
        self._sizes: dict[int, _Size] = {}
        self._exact_at = 0.0

    def read(self, tree: Mapping[int, ProcessStat], *, exactly: bool = False) -> dict[int, int]:
        """Bytes of each process."""
        pages = {pid: memory.pages_of(pid) for pid in tree}
        exactly = exactly or time.monotonic() - self._exact_at >= EXACT_SECONDS or self._have_partners_changed(pages)
        asked = _ask(pages if exactly else self._changed(pages, tree))
        if any(size.is_shared for size in asked.values()):  # new partners: less for each of the others
            asked |= _ask({pid: count for pid, count in pages.items() if pid not in asked})
            exactly = True
        self._sizes = {pid: size for pid, size in self._sizes.items() if pid in pages} | asked
        if exactly:
            self._exact_at = time.monotonic()
        self.is_exact = exactly
        return {
            pid: size.bytes for pid, size in self._sizes.items() if not self._is_borrowed(pid, size, tree[pid].parent)
        }

    def _have_partners_changed(self, pages: Mapping[int, int]) -> bool:
        """Whether processes that share their memory have gone, or have got or freed some."""
        shared = {pid: size.pages for pid, size in self._sizes.items() if size.is_shared}
        if not shared.keys() <= pages.keys():
            return True
        difference = sum(pages[pid] - before for pid, before in shared.items())
        return abs(difference) > _CHANGE * sum(pages.values())

    def _changed(self, pages: Mapping[int, int], tree: Mapping[int, ProcessStat]) -> dict[int, int]:
        """Processes that have the memory to themselves and got or freed some; new ones, and what these may have borrowed of."""
        new = pages.keys() - self._sizes.keys()
        limit = _CHANGE * sum(pages.values())
        alone = {pid for pid, size in self._sizes.items() if pid in pages and not size.is_shared}
        changed = {pid for pid in alone if abs(pages[pid] - self._sizes[pid].pages) > limit}
        return {pid: pages[pid] for pid in changed | new | ({tree[pid].parent for pid in new} & alone)}

    def _is_borrowed(self, pid: int, size: _Size, parent: int) -> bool:
        """Whether the process, equal to its parent to the page, has only its parent's memory: until vfork(2) is over."""
        return parent in self._sizes and size.bytes == self._sizes[parent].bytes and _is_one_memory(pid, parent)


def _is_one_memory(pid: int, other: int) -> bool:
    """Whether two processes have the same memory, by kcmp(2); a fork that has written nothing yet has its own.

    True where the kernel does not tell: what two have together would be counted twice.
    """
    if _KCMP is None:
        return True
    return int(_libc.syscall(_KCMP, pid, other, _KCMP_VM, 0, 0)) <= 0


def _ask(pages: Mapping[int, int]) -> dict[int, _Size]:
    return {pid: _Size(count, *memory.resident(pid)) for pid, count in pages.items()}
