"""SampleRunner: samples in flight in one event loop, by a clock that the tests set."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from jobs.errors import ProcessBroken
from jobs.job import Job
from jobs.kinds import SampleFailureKind
from jobs.node.beacon import Beacons, InFlight
from jobs.node.process import sample_runner
from jobs.node.process.sample_runner import TICK, Item, SampleOutcome, SampleRunner
from jobs.storage.records import FailedSample

IN_FLIGHT, TIMEOUT = 4, 3.0
SET_UP: contextvars.ContextVar[str] = contextvars.ContextVar("SET_UP")


class Clock:
    now = 0.0

    def look(self) -> float:
        return self.now


class Backend:
    def sample_results(self, outputs: Any) -> Any:
        return outputs

    def failed(self, row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
        return FailedSample(row, stage, f"{type(error).__name__}: {error}")


class Gates(Job):
    """A sample ends when its gate is opened, by ``end``, as that says; ``begun`` are the rows in order."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.gates: dict[int, asyncio.Future[BaseException | None]] = {}
        self.stubborn: set[int] = set()

    async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
        self.begun.append(item)
        self.gates[item] = asyncio.get_running_loop().create_future()
        while True:
            try:
                error = await asyncio.shield(self.gates[item])
                break
            except asyncio.CancelledError:
                if item not in self.stubborn:
                    raise
        if error:
            raise error
        return {"y": item}

    async def end(self, *rows: int, error: BaseException | None = None) -> None:
        for row in rows:
            self.gates[row].set_result(error)
        await settled()


async def settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sample_runner, "RunningTime", lambda: clock)
    return clock


@pytest.fixture
def beacons() -> Iterator[Beacons]:
    made = Beacons(1, 1, IN_FLIGHT)
    yield made
    made.close()


class Flight:
    """A runner with rows to do, and what it tells."""

    def __init__(self, job: Job, beacons: Beacons, clock: Clock) -> None:
        self.beacons, self.clock = beacons, clock
        table = InFlight(beacons.descriptor, beacons.place(0))
        variables = contextvars.copy_context()
        variables.run(SET_UP.set, "by setup")
        backend: Any = Backend()
        self.told = 0
        self.runner = SampleRunner(
            job, backend, table, asyncio.get_running_loop(), 0, IN_FLIGHT, TIMEOUT, self._on_outcome, variables
        )

    def _on_outcome(self) -> None:
        self.told += 1

    async def add(self, *rows: int, most: int = 0) -> None:
        self.runner.add(Item(row, row, 10, most) for row in rows)
        await settled()

    async def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.clock.now += TICK
            self.runner.tick()
            await settled()

    def outcomes(self) -> dict[int, Any]:
        """What became of rows: what they returned, or why not."""
        return {one.row: _shown(one) for one in self.runner.collect()}


def _shown(one: SampleOutcome) -> Any:
    return (one.failure.kind, one.failure.message) if one.failure else one.results


Story = Callable[[Flight, Gates], Awaitable[None]]


@pytest.fixture
def play(beacons: Beacons, clock: Clock) -> Callable[[Story], None]:
    """Runs a test in a loop, with a runner of a Job whose samples have gates."""

    def run(story: Story) -> None:
        async def all_of_it() -> None:
            job = Gates()
            flight = Flight(job, beacons, clock)
            await story(flight, job)
            job.stubborn.clear()
            await flight.runner.end(1.0)

        asyncio.run(all_of_it())

    return run


def test_the_next_sample_begins_when_any_one_is_done(play: Callable[[Story], None]) -> None:
    async def story(flight: Flight, job: Gates) -> None:
        await flight.add(*range(7))
        assert (job.begun, flight.runner.bytes) == ([0, 1, 2, 3], 70)
        assert flight.beacons.in_flight(0) == (0, 1, 2, 3)
        await job.end(2)
        await job.end(0, 3)
        assert job.begun == [0, 1, 2, 3, 4, 5, 6]
        assert flight.outcomes() == {2: {"y": 2}, 0: {"y": 0}, 3: {"y": 3}}
        assert (flight.beacons.in_flight(0), flight.runner.bytes, flight.told) == ((1, 4, 5, 6), 40, 1)

    play(story)


def test_a_sample_that_takes_too_long_fails_alone_also_if_it_does_not_heed_that(play: Callable[[Story], None]) -> None:
    async def story(flight: Flight, job: Gates) -> None:
        job.stubborn = {1}
        await flight.add(0, 1, 2)
        await flight.pass_by(TIMEOUT - 1)
        await job.end(2)
        await flight.add(3)
        await flight.pass_by(1.5)
        late = (SampleFailureKind.SAMPLE_TIMEOUT, "took longer than sample_timeout (3 s)")
        assert flight.outcomes() == {2: {"y": 2}, 0: late}
        await flight.pass_by(2.5)
        assert flight.outcomes() == {1: late, 3: late}
        await job.end(1)  # of one that was left behind nothing more is told
        assert (flight.outcomes(), flight.runner.busy, flight.runner.bytes) == ({}, 0, 0)

    play(story)


def test_time_in_which_the_loop_was_held_up_is_no_samples_time(play: Callable[[Story], None]) -> None:
    async def story(flight: Flight, job: Gates) -> None:
        await flight.add(0)
        flight.clock.now += 100
        await flight.pass_by(TIMEOUT - 1)
        assert flight.outcomes() == {}

    play(story)


def test_what_a_sample_sets_of_context_variables_the_next_one_has_not(
    beacons: Beacons, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sets(Job):
        async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
            found = SET_UP.get()
            SET_UP.set(f"by {item}")
            await asyncio.sleep(0)
            return {"y": found}

    async def all_of_it() -> None:
        flight = Flight(Sets(), beacons, clock)
        await flight.add(*range(3 * IN_FLIGHT))
        await settled()
        await settled()
        assert flight.outcomes() == {row: {"y": "by setup"} for row in range(3 * IN_FLIGHT)}

    asyncio.run(all_of_it())


def test_a_broken_process_tells_what_was_in_flight_and_begins_no_more(play: Callable[[Story], None]) -> None:
    async def story(flight: Flight, job: Gates) -> None:
        await flight.add(*range(6))
        await job.end(3)
        group = ExceptionGroup("of tasks", [ValueError("x"), ExceptionGroup("inner", [ProcessBroken("it has died")])])
        await job.end(1, error=group)
        assert str(flight.runner.broken) == "it has died"
        assert flight.runner.rows_lost == (0, 1, 2, 4)
        assert flight.outcomes() == {3: {"y": 3}}
        assert job.begun == [0, 1, 2, 3, 4]

    play(story)


def test_a_suspect_has_no_more_than_it_allows_beside_it(play: Callable[[Story], None]) -> None:
    async def story(flight: Flight, job: Gates) -> None:
        await flight.add(0, 1)
        await flight.add(2, most=2)
        await flight.add(3, 4)
        assert job.begun == [0, 1]
        await job.end(0)
        assert job.begun == [0, 1, 2]
        await job.end(1)
        assert job.begun == [0, 1, 2, 3]
        await job.end(2)
        assert job.begun == [0, 1, 2, 3, 4]

    play(story)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit("bye"), asyncio.CancelledError(), TimeoutError("own")]
)
def test_whatever_a_sample_raises_is_its_own_failure(play: Callable[[Story], None], error: BaseException) -> None:
    async def story(flight: Flight, job: Gates) -> None:
        await flight.add(0)
        await job.end(0, error=error)
        assert flight.outcomes() == {0: (SampleFailureKind.PROCESS, f"{type(error).__name__}: {error}")}

    play(story)


def test_one_that_is_given_up_is_told_only_if_it_finishes_all_the_same(play: Callable[[Story], None]) -> None:
    async def story(flight: Flight, job: Gates) -> None:
        job.stubborn = {1}
        await flight.add(*range(6))
        flight.runner.cancel()
        await settled()
        assert flight.outcomes() == {}
        await job.end(1)
        assert (flight.outcomes(), flight.runner.busy, job.begun) == ({1: {"y": 1}}, 0, [0, 1, 2, 3])

    play(story)
