"""SampleRunner: runs Job.process_sample on many samples at a time, in the event loop of a device process.

One sample is one task of the loop, with a time-out, a seed and a failure of its own. As soon as one is done the next begins,
whatever batch it is of, so that a long one holds up nobody.
"""

import asyncio
import contextvars
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.errors import ProcessBroken, described, words
from jobs.job import Job
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.machine.running_time import RunningTime
from jobs.node.backend import Backend
from jobs.node.beacon import InFlight
from jobs.node.generators import sample_seed
from jobs.node.memory_errors import broken_process, is_device_lost, is_out_of_memory
from jobs.node.twins import end_twin
from jobs.node.worker.loading import tell_loss, too_long, untold
from jobs.storage.records import FailedSample

# A sample that was cancelled may clean up for so many seconds; then it is left behind.
_CANCEL_SECONDS = 2.0
TICK = 0.5
"""Seconds between calls of ``tick``."""


class Item(NamedTuple):
    """A sample as it was loaded, with its size, bytes. While it is in flight, ``most`` are, itself included (0: any number).

    ``load_seconds``: how long loading it took.
    """

    row: int
    value: Any
    size: int
    most: int = 0
    load_seconds: float = 0.0


class SampleOutcome(NamedTuple):
    """What became of a sample: what it returned, as its backend has it, or why it failed."""

    row: int
    results: Any
    failure: FailedSample | None
    seconds: float = 0.0
    load_seconds: float = 0.0


@dataclass(eq=False, slots=True)
class _Flight:
    """A sample in flight; ``since`` when by the clock, ``cancelled`` when it was told to end, if it was."""

    item: Item
    place: int
    since: float
    task: "asyncio.Task[None] | None" = None
    cancelled: float | None = None
    is_late: bool = False


class SampleRunner:
    """``in_flight`` samples at a time; ``on_outcome`` is called, in the loop, after some are done, or the process is broken."""

    def __init__(
        self,
        job: Job,
        backend: Backend,
        table: InFlight,
        loop: asyncio.AbstractEventLoop,
        seed: int,
        in_flight: int,
        sample_timeout: float,
        on_outcome: Callable[[], None],
        variables: contextvars.Context,
    ) -> None:
        self._job = job
        self._backend = backend
        self._table = table
        self._loop = loop
        self._seed = seed
        self._in_flight = in_flight
        self._timeout = sample_timeout
        self._on_outcome = on_outcome
        self._variables = variables
        self._kernel_kills = KernelKills()
        self._clock = RunningTime()
        self._held_up = 0.0
        self._ticked = self._now
        self._waiting: deque[Item] = deque()
        self._flights: dict[int, _Flight] = {}
        self._limited = 0
        self._is_closed = False
        self._outcomes: list[SampleOutcome] = []
        self._told = False
        # Coroutines that would not be cancelled; the event loop itself has weak references only.
        self._left_behind: set[asyncio.Task[None]] = set()
        self.bytes = 0
        """Of all items that wait or are in flight."""
        self.broken: ProcessBroken | None = None
        self.rows_lost: tuple[int, ...] = ()
        self.lost_for = FailureKind.ERROR

    @property
    def busy(self) -> int:
        """How many samples are in flight."""
        return len(self._flights)

    def add(self, items: Iterable[Item]) -> None:
        """Samples to begin as soon as there is room, in order."""
        for item in items:
            self._waiting.append(item)
            self.bytes += item.size
        self._begin_more()

    def collect(self) -> list[SampleOutcome]:
        """What became of samples since it was last asked."""
        found, self._outcomes, self._told = self._outcomes, [], False
        return found

    def take_back(self) -> None:
        """Forgets the samples that were not begun, and begins no more."""
        self._is_closed = True
        self.bytes -= sum(item.size for item in self._waiting)
        self._waiting.clear()

    def cancel(self) -> None:
        """Begins no more, and has those in flight end: of one that does not finish now nothing is told."""
        self.take_back()
        for flight in self._flights.values():
            self._cancel(flight)

    def tick(self) -> None:
        """Time-outs, and those that do not heed them."""
        self._table.tick()
        self._kernel_kills.tick()
        self._clock.look()
        # Where this comes too late the loop was at something else, and so would be whatever a sample waits for.
        self._held_up += max(0.0, self._now - self._ticked - TICK)
        now = self._ticked = self._now
        for flight in list(self._flights.values()):
            if flight.cancelled is None and now - flight.since > self._timeout:
                flight.is_late = True
                self._cancel(flight)
            elif flight.cancelled is not None and now - flight.cancelled > _CANCEL_SECONDS:
                self._leave_behind(flight)

    def hold_up(self, seconds: float) -> None:
        """The loop was at something else for so long, which no sample in flight is late for."""
        self._clock.look()
        self._held_up += seconds

    @property
    def _now(self) -> float:
        return self._clock.now - self._held_up

    async def end(self, seconds: float) -> None:
        """Cancels all that is left, and waits so long for it."""
        self.cancel()
        tasks = [flight.task for flight in self._flights.values() if flight.task] + list(self._left_behind)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    # --- one sample

    def _begin_more(self) -> None:
        while self._waiting and self.broken is None:
            is_limited = self._limited or self._waiting[0].most
            if len(self._flights) >= (self._most() if is_limited else self._in_flight):
                return
            self._begin(self._waiting.popleft())

    def _most(self) -> int:
        """How many may be in flight once the next one is: fewer beside one that may be what its process died of."""
        limits = [self._waiting[0].most, *(flight.item.most for flight in self._flights.values())]
        return min([limit for limit in limits if limit] + [self._in_flight])

    def _begin(self, item: Item) -> None:
        flight = _Flight(item, self._table.begin(item.row), self._now)
        self._flights[item.row] = flight
        self._limited += item.most > 0
        # With context variables as the Job's setup has left them, and not those of the sample whose end this is. Not as the
        # loop makes tasks: a Job may have it begin them at once.
        flight.task = asyncio.Task(self._process(flight), loop=self._loop, context=self._variables.copy())

    async def _process(self, flight: _Flight) -> None:
        try:
            await self._run(flight)
        except Exception as problem:  # what a Job raised may itself raise when it is looked at; the loop would not tell
            row = flight.item.row
            self._end(flight, SampleOutcome(row, None, untold(row, SampleFailureKind.PROCESS, problem)))

    async def _run(self, flight: _Flight) -> None:
        row = flight.item.row
        began = self._loop.time()
        results: Any = None
        failure: FailedSample | None = None
        try:
            outputs = await self._job.process_sample(flight.item.value, sample_seed(self._seed, row))
            end_twin()
            results = self._backend.sample_results(outputs)
        except asyncio.CancelledError as error:
            if flight.cancelled is not None and not flight.is_late:
                self._end(flight)  # given up, not failed
                return
            failure = self._failure(flight, error)
        except BaseException as error:
            if self._may_fit_alone(flight, error):
                self._end(flight)
                return
            failure = self._failure(flight, error)
            if self.broken:
                return
        self._end(flight, SampleOutcome(row, results, failure, self._loop.time() - began, flight.item.load_seconds))

    def _may_fit_alone(self, flight: _Flight, error: BaseException) -> bool:
        """Whether memory ran out while others had some of it: then the sample is begun once more, with none beside it."""
        is_alone = flight.item.most == 1 or len(self._flights) == 1
        if is_alone or flight.cancelled is not None or not is_out_of_memory(error):
            return False
        end_twin(error)
        self._kernel_kills.follow(error)
        if "torch" in sys.modules:
            # What is in flight keeps its own; errors that refer to each other may keep that of this sample.
            gc.collect()
            sys.modules["torch"].cuda.empty_cache()
        if not self._is_closed:
            self._waiting.appendleft(flight.item._replace(most=1))
            self.bytes += flight.item.size
        return True

    def _failure(self, flight: _Flight, error: BaseException) -> FailedSample | None:
        """Why the sample failed; None where the process did."""
        end_twin(error)
        row = flight.item.row
        broken = broken_process(error)
        if broken or is_device_lost(error):
            self._break(broken or ProcessBroken(described(error)), error)
            return None
        self._kernel_kills.follow(error)
        if flight.is_late:
            return FailedSample(row, SampleFailureKind.SAMPLE_TIMEOUT, too_long(self._timeout))
        return self._backend.failed(row, SampleFailureKind.PROCESS, error)

    def _break(self, broken: ProcessBroken, error: BaseException) -> None:
        if self.broken is None:
            tell_loss(words(broken), error)
            self.broken, self.rows_lost = broken, tuple(self._flights)
            if self._kernel_kills.look():  # what it needs was perhaps taken for its memory
                self.lost_for = FailureKind.OUT_OF_MEMORY
            self.cancel()
            if not self._told:
                self._tell()

    def _end(self, flight: _Flight, outcome: SampleOutcome | None = None) -> None:
        """The sample is not in flight any more; of one that was left behind, that was told before."""
        row, _, size, most, _ = flight.item
        if self._flights.get(row) is not flight:
            return
        del self._flights[row]
        self._table.end(flight.place)
        self._limited -= most > 0
        self.bytes -= size
        if outcome and self.broken is None:
            self._outcomes.append(outcome)
        if self._waiting:
            self._begin_more()
        if not self._told:
            self._tell()

    def _tell(self) -> None:
        """Once for all that happens in a turn of the loop: a timer comes after all that is ready by then, call_soon amid it."""
        self._told = True
        self._loop.call_later(0, self._on_outcome)

    # --- the end of one that does not come by itself

    def _cancel(self, flight: _Flight) -> None:
        if flight.cancelled is None and flight.task:
            flight.cancelled = self._now
            flight.task.cancel()

    def _leave_behind(self, flight: _Flight) -> None:
        """Goes on without a coroutine that does not end, though it was cancelled."""
        if flight.task:
            self._left_behind.add(flight.task)
            flight.task.add_done_callback(self._left_behind.discard)
        row = flight.item.row
        failed = (
            FailedSample(row, SampleFailureKind.SAMPLE_TIMEOUT, too_long(self._timeout)) if flight.is_late else None
        )
        self._end(flight, SampleOutcome(row, None, failed, self._timeout, flight.item.load_seconds) if failed else None)
