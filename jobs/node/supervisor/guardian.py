"""Guardian: stands between the fork server and one of its children, and ends what that leaves running.

A Job may start processes of any kind: programs, multiprocessing's, daemons in sessions of their own. Those whose parents
end become children of the guardian, which waits for them, as an init does. When its child is dead, however that came, it
tells the supervisor and ends all of them; its pipe closes once they are gone. When the server is gone, it ends its child
as well.
"""

import contextlib
import errno
import multiprocessing.popen_fork  # which is otherwise imported by its first fork, in each guardian
import os
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from jobs.machine import descendants, lifeline
from jobs.node import twins

NUMBER = struct.Struct("i")
"""What it writes to the supervisor: the pid of its child (-errno where none can be forked), then that one's exit code."""

Target = Callable[..., None]

_FORK = multiprocessing.get_context("fork")
# Whichever of them comes: it looks at what has happened.
_NEWS = (signal.SIGCHLD, signal.SIGHUP)


@dataclass(frozen=True)
class _Call:
    """What the child runs, once it is bound to the guardian's life and rid of what belongs to that one."""

    target: Target
    arguments: Any
    descriptors: Sequence[int]
    status: int
    guardian: int

    def __call__(self) -> None:
        lifeline.bind(self.guardian)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NEWS)
        os.close(self.status)  # with a copy of it in anything that the child starts, its death would not be seen
        lifeline.default_signals_in_forks()
        twins.watch()
        self.target(self.arguments, *self.descriptors)


def guard(server: int, status: int, target: Target, arguments: Any, descriptors: Sequence[int]) -> NoReturn:
    """The guardian's life, in a process of its own; ``status`` is its pipe to the supervisor."""
    code = os.EX_SOFTWARE
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, _NEWS)
        lifeline.bind(server, signal.SIGHUP)
        descendants.adopt()
        child = _FORK.Process(target=_Call(target, arguments, descriptors, status, os.getpid()))
        try:
            child.start()
        except OSError as error:
            tell(status, -(error.errno or errno.EAGAIN))
            os._exit(os.EX_OSERR)
        assert child.pid
        for descriptor in descriptors:
            os.close(descriptor)
        tell(status, child.pid)
        ended = _wait(child.pid, server)
        if ended is None:
            os.kill(child.pid, signal.SIGKILL)
        else:
            tell(status, ended)
        descendants.end()
        code = os.EX_OK
    except BaseException as error:  # nothing of the server's is run or collected here
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stderr.flush()
        os._exit(code)


def tell(status: int, number: int) -> None:
    """Writes a number to the supervisor."""
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(status, NUMBER.pack(number))


def _wait(child: int, server: int) -> int | None:
    """Waits for whatever dies; returns how the child ended, or None where the server is gone before."""
    while os.getppid() == server:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        if not pid:
            signal.sigwait(_NEWS)
    return None
