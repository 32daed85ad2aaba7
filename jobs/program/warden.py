"""Warden: stands between a program that goes on for long and the process that has started it, in a process group of its own.

It ends the program, and all that this has started, once that process is gone, however it ended, and whoever else with it. A
guardian does so too, but only of processes of runs, in one group with them, of which SIGKILL may meet all at once.

SIGTERM is the program's, which has as long to heed it as the starter waits; SIGHUP, as by the starter's end, is the end.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jobs.machine import descendants, lifeline

_NEWS = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM}
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from jobs.program import warden; warden.main()"
NOT_STARTED = 127
"""The exit code of a program that cannot be started, as shells have it; why stands on its stderr."""


def guarded(command: Sequence[str]) -> list[str]:
    """The command for Popen, below a warden."""
    return [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parents[2]), str(os.getpid()), *command]


def main() -> NoReturn:
    """Its life, with the parent's pid and the program as arguments; it ends as that one does."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _NEWS)
    lifeline.bind(parent, signal.SIGHUP)
    descendants.adopt()
    warden = os.getpid()

    def bind() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NEWS)
        lifeline.bind(warden)

    try:
        program = subprocess.Popen(command, preexec_fn=bind)
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        sys.exit(NOT_STARTED)
    while program.poll() is None and os.getppid() == parent and (news := signal.sigwait(_NEWS)) != signal.SIGHUP:
        if news == signal.SIGTERM:
            program.terminate()
        descendants.reap(spare=[program.pid])  # what it has left running for a while
    code = program.returncode or 0
    descendants.end()
    if code < 0:
        _die_of(-code)
    sys.exit(code)


def _die_of(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program has left one, if it was to
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
