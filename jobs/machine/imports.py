"""Imports of many modules at once, faster: where the programs of both packages start, and in the fork server.

Imports make many objects and hardly any garbage, but Python looks for some again and again: it took a tenth of the CPU
time of a small array task, and of `launcher plan` (docs/benchmarks.md).
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def many_imports() -> Iterator[None]:
    """Collects no garbage inside; what was made there is never looked at again, so its pages stay shared after a fork."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
