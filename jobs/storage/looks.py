"""Looks: how often an array task has looked at the run whose samples it takes while that goes on; all that it forks knows.

Pool workers look for themselves, and the supervisor tells which submission of that run had done what they read. So a worker has
to have looked after the supervisor did: else it may have read a row of an older submission than is told of it.
"""

import mmap

# Memory that a process shares with what is forked from it.
_count = memoryview(mmap.mmap(-1, 8)).cast("Q")


def looks() -> int:
    return int(_count[0])


def has_looked() -> None:
    """What is there now is known: whoever asks ``looks`` after this is to look again."""
    _count[0] += 1
