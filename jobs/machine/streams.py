"""Streams: stdin, stdout and stderr of a program, whatever its starter made of them.

Closed ones (of cron, of daemons) become /dev/null: the next file that is opened would get their number, and what is printed
would go into it. Text that a stream's encoding has no bytes for is written all the same: half characters, which stand for
bytes of file names, as those bytes, and anything else with backslashes.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

_ERRORS = "launcher.as_it_can"
_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def prepare() -> None:
    """To be called before anything is opened or printed."""
    codecs.register_error(_ERRORS, _as_it_can)
    fill()
    for number, (name, mode) in enumerate(_MODES.items()):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (for as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def fill() -> None:
    """Opens /dev/null in the place of those of the three descriptors that are closed, or the next file would be one of them."""
    for number in range(len(_MODES)):
        try:
            os.fstat(number)
        except OSError:
            _open_null(number)


@contextmanager
def kept_clear() -> Iterator[None]:
    """For users' code: what it prints, or writes to the descriptor of stdout, which may be for a document, goes to stderr."""
    fill()
    with suppress(OSError):
        sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        stdout = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)


def let_go() -> None:
    """To be called last: Python would end with a code of its own where what is printed cannot be written any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _open_null(stream.fileno())


def _open_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, number)  # unlike what was just opened, children have it, too
    if null != number:
        os.close(null)
    else:
        os.set_inheritable(number, True)


def _as_it_can(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
