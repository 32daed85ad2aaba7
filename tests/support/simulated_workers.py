"""Many workers of one submission, simulated: real Claimers on a board in memory, and a clock that jumps to the next event.

A worker does its batches one after another at its speed. It beats, looks for later claims, asks for work, dies, freezes and
is told to leave as an array task would.
"""

import heapq
import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.kinds import EndReason
from jobs.node.supervisor.claimer import Claimer, Timing
from jobs.node.supervisor.inflow import Inflow
from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat, Held
from jobs.storage.claims import Claim
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Range, Spans
from jobs.storage.submission import NodeSettings, Submission


@dataclass(frozen=True)
class Fate:
    """What becomes of one start of a worker: times are seconds from the start of the array.

    ``speed`` is rows a second. It may stop (told to leave), die (without a word), and freeze from one time to another.
    """

    worker: int
    speed: float
    begins: float = 0.0
    stops: float | None = None
    dies: float | None = None
    frozen: tuple[float, float] | None = None
    setup: float = 20.0


@dataclass
class World:
    """A submission of ``rows`` rows for ``workers`` workers.

    ``stale``: others see claims and beats so many seconds later. ``sees_deaths``: that a process is gone can be seen.
    ``poison``: the row whose batch kills whoever does it.
    """

    rows: int
    workers: int
    batch: int = 10
    ranges: int | None = None
    interval: float = 10.0
    stale: float = 0.0
    sees_deaths: bool = False
    poison: int | None = None
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        count = self.ranges or self.workers
        batches = -(-self.rows // self.batch)
        cuts = [min(self.rows, batches * part // count * self.batch) for part in range(count + 1)]
        self.plan = Plan("sim", "", 0.0, self.rows, None, (0, self.rows), JobSpec("m:J"), self.batch, 0, {})
        node = NodeSettings(sync_interval=self.interval)
        ranges = tuple(itertools.pairwise(cuts))
        self.submission = Submission(1, "local", 0.0, self.workers, Spans([(0, self.rows)]), ranges, node)
        self.now = 0.0
        self.inflow: Inflow | None = None
        self.claims: dict[tuple[int, int], tuple[float, Claim]] = {}
        self.attempts: dict[str, SimulatedWorker] = {}
        self.completed: Counter[int] = Counter()
        self.finished = 0.0
        self.reads = 0
        self.beaten: dict[str, list[tuple[float, Beat]]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time, self.now), next(self._order), event))

    def run(self, fates: Sequence[Fate]) -> None:
        """Until every worker has left."""
        for number, fate in enumerate(fates):
            worker = SimulatedWorker(self, fate, f"0001-{fate.worker:05d}-{number:08x}")
            self.at(fate.begins, worker.begin)
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()

    @property
    def closed(self) -> Spans:
        """The rows that beats cover."""
        return Spans(itertools.chain.from_iterable(one.beat.done for one in self.attempts.values()))

    def told(self, claim: Claim) -> None:
        """A claim was made: who works at the range sees it at its next look."""
        for worker in self.attempts.values():
            if worker.claim and worker.claim.range == claim.range and worker.name != claim.attempt:
                self.at(self.now + self.stale + self.timing.look, worker.look)


class MemoryBoard:
    """The board as one worker sees it."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._tried: set[tuple[int, int]] = set()

    def _seen(self) -> float:
        return self._world.now - self._world.stale

    def is_open(self) -> bool:
        return True

    def begun(self) -> Mapping[int, list[int]]:
        found: dict[int, list[int]] = {}
        for (range_, number), (time, _) in sorted(self._world.claims.items()):
            if time <= self._seen() or (range_, number) in self._tried:
                found.setdefault(range_, []).append(number)
        return found

    def claims(self, range_: int, numbers: Iterable[int]) -> list[Claim]:
        return [self._world.claims[range_, number][1] for number in numbers]

    def has(self, range_: int, number: int) -> bool:
        found = self._world.claims.get((range_, number))
        return found is not None and found[0] <= self._seen()

    def take(self, claim: Claim) -> bool:
        name = claim.range, claim.number
        self._tried.add(name)
        if name in self._world.claims:
            return False
        self._world.claims[name] = self._world.now, claim
        self._world.told(claim)
        return True

    def attempt(self, name: str) -> Attempt:
        self._world.reads += name != self._name
        beats = self._world.beaten[name]
        at = bisect_right(beats, self._world.now if name == self._name else self._seen(), key=lambda pair: pair[0])
        return Attempt(name, Path(), None, beats[at - 1][1] if at else Beat(0, 0.0))

    def has_died(self, attempt: Attempt) -> bool:
        return self._world.sees_deaths and self._world.attempts[attempt.name].is_dead


class SimulatedWorker:
    """One start of a worker."""

    def __init__(self, world: World, fate: Fate, name: str) -> None:
        self.name = name
        self.beat = Beat(0, 0.0)
        self.claim: Claim | None = None
        self.is_dead = False
        self.has_left = False
        self._world = world
        self._fate = fate
        self._claims: list[Held] = []
        self._batches: list[Range] = []
        self._ends: list[float] = []
        self._counted = 0
        self._began = 0.0
        self._ready = 0.0
        self._frozen = False
        self._epoch = 0
        self._rate = 0.0
        self._done = Spans()
        self.claimer = Claimer(
            RunDir(Path()),
            world.plan,
            world.submission,
            fate.worker,
            name,
            timing=world.timing,
            board=MemoryBoard(world, name),
            clock=lambda: world.now,
            inflow=world.inflow,
        )

    @property
    def _works(self) -> bool:
        return not (self.is_dead or self.has_left or self._frozen)

    def begin(self) -> None:
        world, fate = self._world, self._fate
        world.attempts[self.name] = self
        world.beaten[self.name] = []
        if fate.stops is not None:
            world.at(fate.stops, self._stop)
        if fate.dies is not None:
            world.at(fate.dies, self._die)
        if fate.frozen:
            world.at(fate.frozen[0], self._freeze)
        self._publish()
        world.at(world.now + world.interval, self._beat_again)
        self._ask()

    # --- work

    def _ask(self) -> None:
        if not self._works:
            return
        found = self.claimer.next(self._rate, 0.0 if self._rate else self._fate.setup)
        if found is None:
            self._leave(EndReason.DONE)
        elif isinstance(found, Claim):
            self._work_on(found)
        else:
            self._world.at(self._world.now + found, self._ask)

    def _work_on(self, claim: Claim) -> None:
        self.claim = claim
        self._claims.append(Held(claim.range, claim.number, claim.start, claim.stop, 0))
        self._batches = list(self._world.plan.table.batches(self.claimer.rows(claim)))
        self._counted = 0
        self._ready = self._ready or self._world.now + self._fate.setup
        self._began = max(self._world.now, self._ready)
        self._plan_end()

    def _plan_end(self) -> None:
        self._epoch += 1
        epoch = self._epoch
        rows = (stop - start for start, stop in self._batches)
        self._ends = list(itertools.accumulate(count / self._fate.speed for count in rows))
        self._world.at(self._began + (self._ends[-1] if self._ends else 0.0), lambda: self._end_claim(epoch))
        for (start, stop), end in zip(self._batches, self._ends, strict=True):
            if self._world.poison in range(start, stop):
                self._world.at(self._began + end - 1e-3, self._die)

    def _end_claim(self, epoch: int) -> None:
        if self._works and epoch == self._epoch:
            self._publish()
            self.claim = None
            self._ask()

    def look(self) -> None:
        """What the attempt does each second."""
        if not self._works or self.claim is None:
            return
        row = self.claimer.taken_from(self.claim)
        begun = min(len(self._batches), self._finished() + 1)
        kept = self._batches[:begun] + [batch for batch in self._batches[begun:] if batch[0] < row]
        if kept != self._batches:
            self._batches = kept
            self._plan_end()

    def _finished(self) -> int:
        """How many batches of the claim are done by now."""
        return bisect_right(self._ends, self._world.now - self._began + 1e-6)

    def _count(self) -> None:
        """Notes what is done by now."""
        if self.claim is None:
            return
        fresh = self._batches[self._counted : self._finished()]
        self._counted += len(fresh)
        self._world.completed.update(start for start, _ in fresh)
        if fresh:
            self._rate = self._fate.speed
            self._world.finished = max(self._world.finished, self._began + self._ends[self._counted - 1])
        self._done |= Spans(fresh)

    # --- beats

    def _publish(self, end: EndReason | None = None) -> None:
        self._count()
        begun = min(self._counted + 1, len(self._batches))
        row = self._batches[begun][0] if begun < len(self._batches) else self.claim.stop if self.claim else 0
        self.beat = Beat(
            self.beat.number + 1,
            self._world.now,
            self._done,
            claims=tuple(self._claims),
            begun=row,
            rate=self._rate,
            setup=self._fate.setup,
            end=end,
        )
        self._world.beaten[self.name].append((self._world.now, self.beat))

    def _beat_again(self) -> None:
        if self._works:
            self._publish()
            self._world.at(self._world.now + self._world.interval, self._beat_again)

    # --- ends

    def _leave(self, reason: EndReason) -> None:
        self._publish(reason)
        self.has_left = True

    def _stop(self) -> None:
        if self._works:
            self._leave(EndReason.STOPPED)

    def _die(self) -> None:
        if self._works:
            self._count_wasted()
            self.is_dead = True

    def _count_wasted(self) -> None:
        """What was done since the last beat is done, and nobody knows."""
        done, finished = self._done, self._world.finished
        self._count()
        self._done, self._world.finished = done, finished

    def _freeze(self) -> None:
        if self._works and self._fate.frozen:
            self._frozen = True
            self._world.at(self._fate.frozen[1], self._thaw)

    def _thaw(self) -> None:
        assert self._fate.frozen
        lost = self._fate.frozen[1] - self._fate.frozen[0]
        self._frozen = False
        self._began += lost
        self._ready += lost
        if self.claim:
            self._plan_end()
            self.look()
        else:
            self._ask()
        self._beat_again()


def fluid_bound(rows: int, fates: Sequence[Fate]) -> float:
    """The soonest that these workers could be done if work were a fluid and nobody had to know anything."""

    def could_do(time: float) -> float:
        spans = ((fate, min(time, fate.stops or time, fate.dies or time)) for fate in fates)
        return sum(fate.speed * max(0.0, end - fate.begins - fate.setup) for fate, end in spans)

    low, high = 0.0, 1e7
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if could_do(middle) >= rows else (middle, high)
    return high
