"""AsyncLoads: the samples of a piece loaded all at once, for a Job whose ``load`` is ``async def``."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from jobs.node.beacon import Beacon

LoadResult = tuple[Any, BaseException | None]


class AsyncLoads:
    """Runs ``load`` in an event loop that lives as long as its worker, so that connections are kept between pieces."""

    def __init__(self, load: Callable[[Any], Coroutine[Any, Any, Any]], beacon: Beacon) -> None:
        self._load = load
        self._beacon = beacon
        self._runner = asyncio.Runner()

    def __call__(self, samples: Mapping[int, Any]) -> list[LoadResult]:
        """(item, None) or (None, what load raised) of each of the samples, which are given by their rows.

        The beacon is at all rows of the piece until one sample is left, and then at that one: so a time-out or a
        crash is laid to the same rows each time, and a sample that hangs is known by itself.
        """
        if samples:
            self._beacon.at(min(samples), max(samples) + 1)
        return self._runner.run(self._gather(samples))

    async def _gather(self, samples: Mapping[int, Any]) -> list[LoadResult]:
        left = set(samples)

        async def load(row: int, sample: Any) -> LoadResult:
            try:
                return await self._load(sample), None
            except (Exception, SystemExit, asyncio.CancelledError) as problem:
                return None, problem
            finally:
                left.discard(row)
                if len(left) == 1:
                    self._beacon.at(*left, *(row + 1 for row in left))

        return await asyncio.gather(*(load(row, sample) for row, sample in samples.items()))
