"""Warden: stands between a program and a process that no guardian stands above, as that of `launcher try`.

It ends the program, and all that this has started, once the process that started it is gone, however that ended.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.machine import descendants, lifeline

_NEWS = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM}
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from jobs.program import warden; sys.exit(warden.main())"
_NOT_STARTED = 127
"""The exit code of a program that cannot be started, as shells have it."""


def guarded(command: Sequence[str]) -> list[str]:
    """The command for Popen: below a warden, but for processes of a run, whose guardians do the same."""
    if lifeline.is_bound():
        return list(command)
    return [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parents[2]), str(os.getpid()), *command]


def main() -> int:
    """Its life, with the parent's pid and the program as arguments; returns that one's exit code, 128 + n of signal n."""
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
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return _NOT_STARTED
    while program.poll() is None and os.getppid() == parent and signal.sigwait(_NEWS) != signal.SIGTERM:
        pass
    code = program.returncode
    descendants.end()
    return 0 if code is None else code if code >= 0 else 128 - code
