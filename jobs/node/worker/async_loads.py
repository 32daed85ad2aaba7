"""AsyncLoads: the samples of a piece loaded all at once, for a Job whose ``load`` is ``async def``."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any

from jobs.machine.running_time import RunningTime
from jobs.node.beacon import Beacon, RowRange
from jobs.node.twins import end_twin

LoadResult = tuple[Any, BaseException | None]

# Seconds between looks at the clock, at most.
_TICK = 0.5
# A load that is cancelled may clean up for so many seconds.
_CANCEL_SECONDS = 2.0


class TookTooLong(Exception):
    """In the place of what a load raised that was not done in time."""


class AsyncLoads:
    """Runs ``load`` in an event loop that lives as long as its worker, so that connections are kept between pieces.

    Where no load of a piece was done for ``sample_timeout`` seconds, those that are left have taken too long. As long as
    some are, the others may be waiting for their turn (for a connection, say), which is no fault of theirs.
    """

    def __init__(
        self, load: Callable[[Any], Coroutine[Any, Any, Any]], beacon: Beacon, sample_timeout: float = float("inf")
    ) -> None:
        self._load = load
        self._beacon = beacon
        self._timeout = sample_timeout
        self._runner = asyncio.Runner()
        # Loads that would not be cancelled; the event loop itself has weak references only.
        self._lost: set[asyncio.Task[Any]] = set()

    def __call__(self, samples: Mapping[int, Any]) -> list[LoadResult]:
        """(item, None) or (None, what load raised) of each of the samples, which are given by their rows.

        The beacon is at all rows of the piece, but at a single one while that one's code runs: so a crash is laid to it,
        and so is code that does not let the others run.
        """
        if not samples:
            return []
        rows = min(samples), max(samples) + 1
        self._beacon.at(*rows)
        return self._runner.run(self._gather(samples, rows))

    async def _gather(self, samples: Mapping[int, Any], rows: RowRange) -> list[LoadResult]:
        async def load(row: int, sample: Any) -> LoadResult:
            try:
                return await _Steps(self._load(sample), self._beacon, row, rows), None
            except BaseException as problem:
                end_twin(problem)
                return None, problem

        tasks = [asyncio.ensure_future(load(row, sample)) for row, sample in samples.items()]
        late = await self._await(set(tasks))
        if late:
            self._lost = await _cancel(late)
        return [(None, TookTooLong()) if task in late else task.result() for task in tasks]

    async def _await(self, left: set[asyncio.Task[LoadResult]]) -> set[asyncio.Task[LoadResult]]:
        """Waits for the loads; returns those that take too long."""
        clock = RunningTime()
        since = 0.0
        while left and clock.look() - since <= self._timeout:
            done, left = await asyncio.wait(left, timeout=min(_TICK, self._timeout))
            if done:
                since = clock.look()
        return left


async def _cancel(tasks: set[asyncio.Task[LoadResult]]) -> set[asyncio.Task[LoadResult]]:
    """Cancels loads; returns those that go on all the same."""
    for task in tasks:
        task.cancel()
    return (await asyncio.wait(tasks, timeout=_CANCEL_SECONDS))[1]


class _Steps:
    """Awaits a coroutine; while its code runs, the beacon is at its row."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], beacon: Beacon, row: int, rows: RowRange) -> None:
        self._coroutine = coroutine
        self._beacon = beacon
        self._row = row
        self._rows = rows

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            self._beacon.at(self._row, self._row + 1)
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            finally:
                self._beacon.at(*self._rows)
            try:
                step, value = self._coroutine.send, (yield awaited)
            except BaseException as error:  # a cancellation, and whatever else the event loop has for it
                step, value = self._coroutine.throw, error
