"""Beacon: a word of shared memory in which a child says which rows it is at, so that its death or silence has a cause.

Written by pool workers and processes (a store a sample), read by the supervisor. A process that has many samples in flight
writes them into a table of its own, beside the beacons.
"""

import mmap
import os

from jobs.machine.memory_file import memory_file

_IDLE = -1
# Instead of a row: it leaves because its process has gone.
_ORPHANED = -2
# Three int64: first row, end of the rows, whether it has lost its pipes.
_WORDS = 3
_SIZE = 8 * _WORDS
RowRange = tuple[int, int]
# Before the places of a table: how often its process has looked at the clock.
_HEAD = 1


class Beacons:
    """The beacons of all children; made by the supervisor, which passes ``descriptor`` to each child at its start.

    Beside them are ``tables`` tables, for ``places`` rows in flight each.
    """

    def __init__(self, count: int, tables: int = 0, places: int = 0) -> None:
        self.descriptor = memory_file("launcher-beacons", _SIZE * count + 8 * tables * (_HEAD + places))
        self._words = _words(self.descriptor)
        self._count, self._places = count, places
        for index in range(count):
            self.clear(index)
        for table in range(tables):
            self.clear_table(table)

    def place(self, table: int) -> range:
        """The words of a table, as its process needs them to write there."""
        first = _WORDS * self._count + table * (_HEAD + self._places)
        return range(first, first + _HEAD + self._places)

    def in_flight(self, table: int) -> tuple[int, ...]:
        """The rows in a table, ascending."""
        words = self.place(table)
        return tuple(sorted(row for row in self._words[words.start + _HEAD : words.stop] if row >= 0))

    def ticks(self, table: int) -> int:
        """How often the process of a table has looked at the clock."""
        return self._words[self.place(table).start]

    def clear_table(self, table: int) -> None:
        words = self.place(table)
        self._words[words.start] = 0
        for word in words[_HEAD:]:
            self._words[word] = _IDLE

    def span(self, index: int) -> RowRange | None:
        """Manifest rows ``[start, stop)`` that the child is at; None while it is idle, starting or waiting."""
        start, stop = self._words[_WORDS * index], self._words[_WORDS * index + 1]
        return None if start < 0 else (start, max(stop, start + 1))

    def is_orphaned(self, index: int) -> bool:
        """Whether the child said that it leaves because its process has gone."""
        return self._words[_WORDS * index] == _ORPHANED

    def is_cut_off(self, index: int) -> bool:
        """Whether the child said that its Job has closed the pipes by which it talks."""
        return bool(self._words[_WORDS * index + 2])

    def clear(self, index: int) -> None:
        self._words[_WORDS * index] = self._words[_WORDS * index + 1] = _IDLE
        self._words[_WORDS * index + 2] = 0

    def close(self) -> None:
        """Children keep the memory that they have."""
        os.close(self.descriptor)


class Beacon:
    """One child's own beacon, number ``index`` of those behind the descriptor."""

    def __init__(self, descriptor: int, index: int) -> None:
        self.descriptor = descriptor
        self._words = _words(descriptor)
        self._start, self._stop, self._cut_off = range(_WORDS * index, _WORDS * index + _WORDS)

    def at(self, start: int, stop: int) -> None:
        """The child now works on the rows ``[start, stop)``."""
        self._words[self._stop] = stop  # before the start, which says that there are rows: it may be killed in between
        self._words[self._start] = start

    def one_by_one(self) -> tuple[memoryview, int]:
        """The child, idle now, is about to work on single rows: it stores each in the word of this memory and index.

        By itself, since a method call a sample would be a twentieth of what a tiny sample costs.
        """
        self._words[self._stop] = _IDLE
        return self._words, self._start

    def idle(self) -> None:
        self._words[self._start] = _IDLE

    def orphaned(self) -> None:
        """The child leaves, since its process has gone: it need not be replaced."""
        self._words[self._start] = _ORPHANED

    def cut_off(self) -> None:
        """The child ends, since it cannot talk any more."""
        self._words[self._cut_off] = 1


class InFlight:
    """A process's own table: the rows of the samples that it has in flight, in the words that ``Beacons.place`` says."""

    def __init__(self, descriptor: int, words: range) -> None:
        self._words = _words(descriptor)
        self._tick = words.start
        self._free = list(words[_HEAD:])

    def begin(self, row: int) -> int:
        """The row is in flight; returns its place."""
        place = self._free.pop()
        self._words[place] = row
        return place

    def end(self, place: int) -> None:
        self._words[place] = _IDLE
        self._free.append(place)

    def tick(self) -> None:
        """The process has looked at the clock: nothing holds it up."""
        self._words[self._tick] += 1


def _words(descriptor: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size)).cast("q")
