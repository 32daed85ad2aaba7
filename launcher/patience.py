"""Patience: what a command is at, said where that takes longer than people wait without a word."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.visible import on_one_line

# Seconds.
_SILENCE = 2.0


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Says it on stderr after a while, if what is inside is not through by then."""
    timer = threading.Timer(_SILENCE, lambda: print(f"{on_one_line(what)} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
