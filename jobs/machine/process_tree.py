"""ProcessTree: a process and all that was started below it, however deep, whatever session it is in.

Found by parents, as Linux tells them of every process: lists of children are in many kernels left out, and wrong in the
others while processes come and go (proc_pid_task_children(5)).
"""

import os
from collections.abc import Collection, Iterator, Mapping

from jobs.machine.process_stat import ProcessStat


class ProcessTree:
    """Looked at again and again it costs a listing of /proc, and a line for each process of its own or new since.

    A process that was seen below the root stays one of the tree, though its parents are gone and others have taken it over.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self._strangers: set[int] = set()

    def look(self) -> dict[int, ProcessStat]:
        """The processes by pid, those too that are dead but that nobody has waited for; empty where the root is gone."""
        listed = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._strangers &= listed
        stats = {pid: stat for pid in listed - self._strangers if (stat := ProcessStat.of(pid))}
        members = {pid for pid, stat in stats.items() if pid == self._root or self._known.get(pid) == stat.start}
        members |= set(_below(members, stats))
        # Those too whose parent is not listed, since it was started meanwhile, may turn out to be of the tree.
        self._strangers.update(pid for pid in stats.keys() - members if stats[pid].parent in listed | {0})
        self._known = {pid: stats[pid].start for pid in members}
        return {pid: stats[pid] for pid in members}


def shares(stats: Mapping[int, ProcessStat], tops: Collection[int]) -> dict[int, set[int]]:
    """Of each of these processes, itself and all below it; what is below one of the others is that one's alone."""
    others = {pid: stat for pid, stat in stats.items() if pid not in tops}
    return {top: {top, *_below([top], others)} for top in tops if top in stats}


def _below(tops: Collection[int], stats: Mapping[int, ProcessStat]) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        if pid not in tops:
            children.setdefault(stat.parent, []).append(pid)
    open_ = list(tops)
    while open_:
        found = children.pop(open_.pop(), [])
        open_ += found
        yield from found
