"""Monkey patches: what gevent and eventlet put in the place of Python's sockets and threads; with it no child can go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.errors import InputError

_NEEDED = ("socket", "thread", "threading")


@contextmanager
def refusing_patches() -> Iterator[None]:
    """For the Job's code. Raises InputError where it patches: what comes of that later tells nobody of the cause."""
    before = _patched()
    try:
        yield
    except Exception as error:
        _refuse(_patched() - before, error)
        raise
    _refuse(_patched() - before, None)


def _refuse(patched: set[str], error: Exception | None) -> None:
    if patched:
        raise InputError(
            f"{' and '.join(patched)} replaces Python's sockets and threads here (monkey patching, patch_all()?), which the "
            "launcher needs as they are: leave that out; what waits goes into `async def process_sample`, threads, or a "
            "program of its own"
        ) from error


def _patched() -> set[str]:
    gevent: Any = sys.modules.get("gevent.monkey")
    eventlet: Any = sys.modules.get("eventlet.patcher")
    asked = {
        "gevent": getattr(gevent, "is_module_patched", None),
        "eventlet": getattr(eventlet, "is_monkey_patched", None),
    }
    return {name for name, is_patched in asked.items() if is_patched and any(map(is_patched, _NEEDED))}
