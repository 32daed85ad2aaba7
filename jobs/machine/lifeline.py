"""Lifeline: no child outlives its parent, also when the parent is killed, and stop signals are for the supervisor.

Called first thing by every process of an array task. Linux sends a process the signal it asked for when its parent dies
(prctl PR_SET_PDEATHSIG). Children of an array task are bound to their guardians, these to the fork server, and that to
the supervisor, so the whole tree falls at once.
"""

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)


def bind(parent: int, death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Asks for ``death_signal`` when the parent dies; exits now where it died before the asking.

    ``parent`` is its pid as whoever started this process knows it: one that died earlier was replaced by another, and pid
    1 may be a parent as any other, in a container.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # Looked at after the asking: of a parent that died before it, Linux sends nothing any more.
    if os.getppid() != parent:
        sys.exit(f"process {os.getpid()}: its parent is gone; nothing to do")


def ignore_signals() -> None:
    """Leaves stop signals to the supervisor: Slurm and terminals send them to every process of the task.

    Handlers that do nothing, instead of SIG_IGN, so that programs started by a Job get the default actions back.
    """
    for number in _STOPS:
        signal.signal(number, _ignore)


def _ignore(number: int, frame: object) -> None:
    pass


class _SignalsOfForks:
    """What this process forks is ended by SIGTERM as in any program: multiprocessing counts on that (terminate())."""

    def __init__(self) -> None:
        self._masks = threading.local()  # a mask is a thread's own, and any thread may fork

    def before(self) -> None:
        # A signal that comes right after the fork waits until it has its default action again: it must not be lost.
        self._masks.old = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)

    def in_parent(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.old)

    def in_child(self) -> None:
        for number in _STOPS:
            if signal.getsignal(number) is _ignore:
                signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
        self.in_parent()


def default_signals_in_forks() -> None:
    """What this process forks from now on does not ignore signals with it; a handler of the user's own is inherited."""
    signals = _SignalsOfForks()
    os.register_at_fork(before=signals.before, after_in_parent=signals.in_parent, after_in_child=signals.in_child)
