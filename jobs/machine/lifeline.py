"""Lifeline: no child outlives its parent, also when the parent is killed.

Called first thing by every process of an array task. Linux sends a process the signal it asked for when its parent dies
(prctl PR_SET_PDEATHSIG). Processes and pool workers are children of the fork server, not of the supervisor, so the
fork server asks for it too, and the whole tree falls at once.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def bind(parent: int | None = None, death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Asks for ``death_signal`` when the parent dies; exits now where it died before the asking.

    ``parent`` is the parent's pid, where the caller knows it: one that died earlier was replaced by another.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # Looked at after the asking: of a parent that died before it, Linux sends nothing any more.
    if os.getppid() == 1 or (parent is not None and os.getppid() != parent):
        sys.exit(f"process {os.getpid()}: its parent is gone; nothing to do")


def ignore_signals() -> None:
    """Leaves stop signals to the supervisor: Slurm and terminals send them to every process of the task.

    Handlers that do nothing, instead of SIG_IGN, so that programs started by a Job get the default actions back.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT):
        signal.signal(number, lambda number, frame: None)
