"""Spans: a set of whole numbers as ranges: rows of a manifest, or shards. Operations cost time in the number of ranges."""

import itertools
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Self

Range = tuple[int, int]
"""``[start, stop)``."""


class Spans:
    """Ranges ``[start, stop)``: ascending, none empty, none touching the next. ``count`` is how many numbers they hold."""

    __slots__ = ("_ranges", "count")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        """``ranges`` may come in any order and overlap."""
        joined: list[Range] = []
        for start, stop in sorted(pair for pair in ranges if pair[0] < pair[1]):
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(joined[-1][1], stop)
            else:
                joined.append((start, stop))
        self._ranges = tuple(joined)
        self.count = sum(stop - start for start, stop in joined)

    @classmethod
    def of_numbers(cls, numbers: Iterable[int]) -> Self:
        return cls((number, number + 1) for number in numbers)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of ``3,7-9``, as ``str`` writes it; raises ValueError."""
        pairs = (piece.split("-") for piece in text.split(",") if piece)
        return cls((int(pair[0]), int(pair[-1]) + 1) for pair in pairs)

    def __str__(self) -> str:
        """``3,7-9`` for 3, 7, 8, 9."""
        return ",".join(str(a) if b - a == 1 else f"{a}-{b - 1}" for a, b in self._ranges)

    def __repr__(self) -> str:
        return f"Spans({self})"

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, (number, sys.maxsize))
        return at > 0 and number < self._ranges[at - 1][1]

    @property
    def numbers(self) -> Iterator[int]:
        """Each number, ascending."""
        return itertools.chain.from_iterable(range(*pair) for pair in self._ranges)

    @property
    def first(self) -> int:
        """The lowest number; there has to be one."""
        return self._ranges[0][0]

    @property
    def stop(self) -> int:
        """The highest number and 1; there has to be one."""
        return self._ranges[-1][1]

    def __or__(self, other: "Spans") -> "Spans":
        return Spans((*self._ranges, *other._ranges))

    def __and__(self, other: "Spans") -> "Spans":
        # One range is the usual case, of a part of a run: no need to go through all of ours to find it.
        return self.within(*other._ranges[0]) if len(other._ranges) == 1 else Spans(self._common(other))

    def _common(self, other: "Spans") -> Iterator[Range]:
        mine, theirs = iter(self._ranges), iter(other._ranges)
        one, two = next(mine, None), next(theirs, None)
        while one and two:
            start, stop = max(one[0], two[0]), min(one[1], two[1])
            if start < stop:
                yield start, stop
            if one[1] < two[1]:
                one = next(mine, None)
            else:
                two = next(theirs, None)

    def __sub__(self, other: "Spans") -> "Spans":
        return Spans(self._without(other)) if other else self

    def _without(self, other: "Spans") -> Iterator[Range]:
        holes = iter(other._ranges)
        hole = next(holes, None)
        for start, stop in self._ranges:
            at = start
            while hole and hole[0] < stop:
                if hole[1] > at:
                    yield at, hole[0]  # empty, and dropped, where the hole begins before
                    at = hole[1]
                if hole[1] > stop:
                    break
                hole = next(holes, None)
            yield at, stop

    def within(self, start: int, stop: int) -> "Spans":
        """Those of the numbers that lie in ``[start, stop)``."""
        first = bisect_right(self._ranges, start, key=lambda pair: pair[1])
        found = itertools.takewhile(lambda pair: pair[0] < stop, itertools.islice(self._ranges, first, None))
        return Spans((max(a, start), min(b, stop)) for a, b in found)

    def brief(self, most: int = 5) -> str:
        """For messages, however many there are: ``3,203,403 and 497 more``."""
        if len(self._ranges) <= most:
            return str(self)
        shown = Spans(self._ranges[:most])
        return f"{shown} and {self.count - shown.count:,} more"

    def coarse(self, most: int = 10) -> str:
        """For commands, however many there are: as ``str``, the smallest gaps closed so that ``most`` ranges are left."""
        ranges = self._ranges
        if len(ranges) <= most:
            return str(self)
        by_gap = sorted(range(1, len(ranges)), key=lambda at: ranges[at][0] - ranges[at - 1][1])
        cuts = [0, *sorted(by_gap[len(by_gap) - most + 1 :]), len(ranges)]
        return str(Spans((ranges[first][0], ranges[stop - 1][1]) for first, stop in itertools.pairwise(cuts)))

    def take(self, count: int) -> "Spans":
        """The lowest ``count`` numbers."""
        found: list[Range] = []
        for start, stop in self._ranges:
            if count <= 0:
                break
            found.append((start, min(stop, start + count)))
            count -= stop - start
        return Spans(found)


class GrowingSpans:
    """Numbers as they come, in ``most`` ranges at most: beyond, the smallest gap is closed, and holds too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ranges: list[Range] = []

    def add(self, number: int) -> None:
        ranges = self._ranges
        at = bisect_right(ranges, (number, sys.maxsize))
        if at and number < ranges[at - 1][1]:
            return
        ranges.insert(at, (number, number + 1))
        if at + 1 < len(ranges) and ranges[at + 1][0] == number + 1:
            self._close(at)
        if at and ranges[at - 1][1] == number:
            self._close(at - 1)
        if len(ranges) > self._most:
            self._close(min(range(len(ranges) - 1), key=self._gap_after))

    def _gap_after(self, at: int) -> int:
        return self._ranges[at + 1][0] - self._ranges[at][1]

    def _close(self, at: int) -> None:
        """Joins a range and the next one."""
        self._ranges[at : at + 2] = [(self._ranges[at][0], self._ranges[at + 1][1])]

    def spans(self) -> Spans:
        return Spans(self._ranges)


def union(many: Iterable[Spans]) -> Spans:
    """All numbers of all of them, at the price of one sort."""
    return Spans(itertools.chain.from_iterable(many))
