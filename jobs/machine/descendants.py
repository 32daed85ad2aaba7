"""Descendants: whatever a process has started, and those have, in whatever session, group or environment they are.

Linux gives the children of a process that died to the nearest ancestor that asked for them (prctl
PR_SET_CHILD_SUBREAPER). So one that did can end everything below itself: by ending its children until no more come.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection

from jobs.machine.process_stat import ProcessStat

_PR_SET_CHILD_SUBREAPER = 36
# Programs are asked first: some clean up (multiprocessing's resource tracker removes what was left in /dev/shm).
_ASKED_SECONDS = 0.5
# SIGKILL ends nothing that waits in the kernel for a device or a file system; for all else so many seconds are plenty.
_KILLED_SECONDS = 2.0


def adopt(does: bool = True) -> None:
    """Whether what the descendants of this process leave running becomes its child from now on."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(does), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def end(spare: Collection[int] = (), *, ask: bool = True) -> list[int]:
    """Ends all descendants but these children and what is below them; returns children that would not end.

    By SIGTERM first, if they are to be asked.
    """
    began = time.monotonic()
    asked: set[int] = set()
    pause = 0.001
    while left := reap(spare):
        waited = time.monotonic() - began
        if waited > _ASKED_SECONDS + _KILLED_SECONDS:
            return left
        if ask and waited < _ASKED_SECONDS:
            _send(set(left) - asked, signal.SIGTERM)  # once: to some a second one means something else
            asked.update(left)
        else:
            _send(left, signal.SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return []


def kill(spare: Collection[int]) -> list[int]:
    """SIGKILL to all children but these, without waiting: what is below them comes up as they die. Returns those."""
    left = reap(spare)
    _send(left, signal.SIGKILL)
    return left


def _send(pids: Collection[int], number: signal.Signals) -> None:
    """To children that nobody has waited for, so that their pids are still theirs."""
    for pid in pids:
        with contextlib.suppress(PermissionError):  # it runs as another user (sudo): it ends by itself, or its own way
            os.kill(pid, number)


def reap(spare: Collection[int]) -> list[int]:
    """Waits for the children that are dead; returns those that live."""
    while found := [pid for pid in children() if pid not in spare]:
        # What one that has just died had started was its own when we looked, and is ours now: so none left is no answer yet.
        if left := [pid for pid in found if os.waitpid(pid, os.WNOHANG)[0] == 0]:
            return left
    return []


def children() -> list[int]:
    """The children of this process, zombies too.

    Found by their parents: the kernel's list of them (/proc/PID/task/TID/children) is left out of many. Where there are
    none, as mostly, that is known at once.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    me = os.getpid()
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if (stat := ProcessStat.of(pid)) and stat.parent == me]
