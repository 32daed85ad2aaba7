"""Durations: how many samples took how long, in bins, so that it is small and cheap however many there are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import floor, log10
from typing import Self

BINS = 5
"""Of a factor of 10: bin b holds what took from 10^(b/5) seconds to 10^((b+1)/5)."""
_SHORTEST, _FIRST = 1e-6, -6 * BINS


@dataclass(slots=True)
class Durations:
    """A histogram of seconds, with the sum of them all."""

    counts: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, seconds: float, samples: int) -> None:
        """``samples`` that took so long together count as equally long: more is not known. 0 seconds: not even that."""
        if seconds:  # called for each batch, of which there may be very many: nothing is called that is not needed
            self.seconds += seconds
            each, counts = seconds / samples, self.counts
            number = floor(BINS * log10(each)) if each > _SHORTEST else _FIRST
            counts[number] = counts.get(number, 0) + samples

    def copy(self) -> "Durations":
        return Durations(dict(self.counts), self.seconds)

    @property
    def samples(self) -> int:
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Seconds a sample; there has to be one."""
        return self.seconds / self.samples

    def quantile(self, share: float) -> float:
        """So many seconds or less took this share of the samples, to the end of a bin; there has to be one."""
        left = share * self.samples
        for number in sorted(self.counts):
            left -= self.counts[number]
            if left <= 0:
                break
        return upper_edge(number)

    @classmethod
    def sum(cls, many: Iterable[Self]) -> Self:
        total = cls()
        for one in many:
            total.seconds += one.seconds
            for number, samples in one.counts.items():
                total.counts[number] = total.counts.get(number, 0) + samples
        return total

    def to_json(self) -> list[object]:
        return [round(self.seconds, 3), sorted(self.counts.items())]

    @classmethod
    def from_json(cls, data: tuple[float, Iterable[tuple[int, int]]]) -> Self:
        seconds, counts = data
        return cls(dict(counts), seconds)


def lower_edge(number: int) -> float:
    """Seconds at which a bin begins."""
    return float(10 ** (number / BINS))


def upper_edge(number: int) -> float:
    """Seconds at which the next one begins."""
    return lower_edge(number + 1)
