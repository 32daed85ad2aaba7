"""Twins: copies of a child that its Job forks (``os.fork``) and lets come back: they would go on in its place, beside it.

Each ends where the user's code returns or raises, as a program of its own would: with the code of its sys.exit, or a
traceback. Until it has ended, its pipes, slots and files are its parent's alone.
"""

import os
import sys

from jobs.node.log import say
from jobs.tracebacks import print_own

_is_twin = False


def watch() -> None:
    """What this process forks from now on is a twin of it, should it come back."""
    os.register_at_fork(after_in_child=_mark)


def _mark() -> None:
    global _is_twin
    _is_twin = True


def end_twin(error: BaseException | None = None) -> None:
    """To be called where the user's code has returned, or has raised ``error``; returns in the child itself alone."""
    if not _is_twin:
        return
    code = os.EX_OK
    try:
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is None:
            say("a process that the Job forked came back into the launcher, and is ended: leave it by os._exit()")
        else:
            code = os.EX_SOFTWARE
            print_own(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
