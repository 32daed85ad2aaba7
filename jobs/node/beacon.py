"""Beacon: a word of shared memory in which a child says which rows it is at, so that its death or silence has a cause.

Written by pool workers and processes (two stores a sample), read by the supervisor.
"""

import ctypes
from multiprocessing.context import BaseContext
from typing import Any

_IDLE = -1
Span = tuple[int, int]


class Beacons:
    """The beacons of all children; made by the supervisor, passed to each child at its start."""

    def __init__(self, context: BaseContext, count: int) -> None:
        self.words: Any = context.RawArray(ctypes.c_int64, [_IDLE] * (2 * count))

    def span(self, index: int) -> Span | None:
        """Manifest rows ``[start, stop)`` that the child is at; None while it is idle, starting or waiting."""
        start, stop = self.words[2 * index], self.words[2 * index + 1]
        return None if start == _IDLE else (start, stop)

    def clear(self, index: int) -> None:
        self.words[2 * index] = self.words[2 * index + 1] = _IDLE


class Beacon:
    """One child's own beacon."""

    def __init__(self, words: Any, index: int) -> None:
        self._words = memoryview(words).cast("B").cast("q")
        self._start, self._stop = 2 * index, 2 * index + 1

    def at(self, start: int, stop: int) -> None:
        """The child now works on the rows ``[start, stop)``."""
        self._words[self._stop] = stop
        self._words[self._start] = start

    def idle(self) -> None:
        self._words[self._start] = _IDLE
