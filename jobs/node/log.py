"""Log: what a child says for the log of its task, whatever its Job has made of stdout and stderr."""

import contextlib
import os
import stat
import sys

OUT, ERR = 1, 2


def say(text: str, number: int = OUT) -> None:
    """Prints a line to stdout or stderr; where the Job has closed that, or put something else in its place, past it."""
    stream = sys.stdout if number == OUT else sys.stderr
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except Exception:  # of whatever stands there; nothing of a sample depends on it
        with contextlib.suppress(OSError):
            os.write(number, f"{text}\n".encode(errors="backslashreplace"))


def log_bytes() -> int:
    """How long the log is, if stdout is one."""
    try:
        found = os.fstat(1)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
