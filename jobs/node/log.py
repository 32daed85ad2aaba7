"""Log: what an array task and its children write, line by line, each with when it was begun and by whom.

The stamp is put in by the stream, beneath whatever a Job prints or logs with.
"""

import contextlib
import io
import os
import re
import stat
import sys

from jobs.storage.stamps import TASK, speaker, stamp

OUT, ERR = 1, 2
_BEGINNING = re.compile(r"(?:\A|(?<=[\n\r]))(?=[^\n\r])")
_speaker = TASK


class StampedStream(io.TextIOWrapper):
    """A text stream of stamped lines. Blank lines stay blank; a bar of progress is stamped as often as it is drawn."""

    _is_amid = False

    def write(self, text: str) -> int:
        if not text:
            return super().write(text)
        begins_with = stamp(_speaker)
        stamped = _BEGINNING.sub(begins_with, text)
        if self._is_amid and text[0] not in "\n\r":
            stamped = stamped[len(begins_with) :]
        self._is_amid = text[-1] not in "\n\r"
        super().write(stamped)
        return len(text)


def stamp_lines() -> None:
    """Stamps what this process prints from now on, and those that it forks; to be called before a Job's code sees the streams.

    They are written by whole lines: what a process said before it was killed is there, and no other has written into it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        told = {"encoding": stream.encoding, "errors": stream.errors, "write_through": stream.write_through}
        stamped = StampedStream(stream.detach(), line_buffering=True, **told)
        setattr(sys, name, stamped)
        setattr(sys, f"__{name}__", stamped)


def speak_as(process: int, worker: int | None) -> None:
    """This process is that one, or that pool worker of it."""
    global _speaker
    _speaker = speaker(process, worker)


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
