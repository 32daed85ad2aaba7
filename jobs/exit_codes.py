"""Exit codes: how `launcher` and `python -m jobs` tell their starter what became of them, and how others' ends are worded.

Part of the contract with scripts and with the array tasks of older runs, so none of them changes its meaning. Those from
74 on are of sysexits.h.
"""

import signal

DONE = 0
"""All that was asked for is done; of an array task, nothing is left for it to do."""
FAILED = 1
"""Something failed, or the result is not complete; of an array task, it failed or gave up a shard, as its journal tells."""
BAD_INPUT = 2
"""Bad input; one message says what, where and what to do."""
NO_DISK = 74
"""EX_IOERR, of an array task: the run directory cannot be written, so the journal does not tell."""
STOPPED = 75
"""EX_TEMPFAIL, of an array task: not finished, can be resumed; of `launcher run --once`: it goes on, come again."""
INTERRUPTED = 130
"""Ctrl-C, as shells have it: 128 + SIGINT."""


def exit_text(code: int | None) -> str:
    """How a process ended, for messages: ``signal 11 (SIGSEGV)`` or ``exit code 3``; ``code`` is as subprocess gives it."""
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {-code} ({signal_name(-code)})"


def signal_name(number: int) -> str:
    """``SIGSEGV``; realtime signals, which Python has no names for, as signal(7) counts them: ``SIGRTMIN+3``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"signal {number}"
