"""Pace: how fast a run has gone while somebody looked, and that as a line of blocks."""

import itertools
import time
from collections.abc import Callable, Sequence

from launcher.status.status import Status

# Beats come about so often: between them nothing is known.
_STEP = 5.0
_KEPT = 2000
_BLOCKS = "▁▂▃▄▅▆▇█"


class Pace:
    """Samples that were done at some moments; between beats of array tasks none are, so it is told over some seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: list[tuple[float, int]] = []

    def note(self, status: Status) -> None:
        now = self._clock()
        if self._seen and now - self._seen[-1][0] < _STEP:
            return
        self._seen.append((now, status.ok + status.failed))
        if len(self._seen) > _KEPT:  # every other one tells as much, over so long a time
            self._seen = self._seen[::2]

    def rates(self, count: int) -> list[float]:
        """Samples a second in at most ``count`` parts of the time, all of the same length, the last one last."""
        if len(self._seen) < 2:
            return []
        first, last = self._seen[0][0], self._seen[-1][0]
        parts = max(1, min(count, int((last - first) / _STEP), len(self._seen) - 1))
        step = (last - first) / parts
        done = [self._done_at(first + number * step) for number in range(parts + 1)]
        return [max(0.0, after - before) / step for before, after in itertools.pairwise(done)]

    def _done_at(self, moment: float) -> float:
        """Between two looks, as if it had gone evenly."""
        before = self._seen[0]
        for seen in self._seen:
            if seen[0] >= moment:
                share = (moment - before[0]) / (seen[0] - before[0]) if seen[0] > before[0] else 1.0
                return before[1] + share * (seen[1] - before[1])
            before = seen
        return before[1]


def told(rates: Sequence[float]) -> str:
    """In blocks, and how fast it was at most; empty where nothing is known."""
    return f"{blocks(rates)}  at most {max(rates):,.1f} samples/s" if rates else ""


def blocks(rates: Sequence[float]) -> str:
    """The largest is the highest block; what is nothing is the lowest."""
    most = max(rates, default=0.0)
    return "".join(_BLOCKS[round((len(_BLOCKS) - 1) * rate / most)] if most else _BLOCKS[0] for rate in rates)
