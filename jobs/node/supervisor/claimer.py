"""Claimer: finds work for an attempt: its own ranges, then those that nobody has, then some of what others have left.

It decides on what it last read of them, so it may be wrong; then a claim fails, or rows are done twice, and no more.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobs.node.supervisor.board import Board, FileBoard, Sighting
from jobs.node.supervisor.takeover import IdlePace, Rest, Stretch, inherited, split
from jobs.storage.attempts import Attempt
from jobs.storage.claims import Claim, holdings
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream

if TYPE_CHECKING:
    from jobs.node.supervisor.inflow import Inflow

# How many ranges are looked at in one go, and how often a claim is tried before waiting.
_LOOKED_AT = 16
_TRIES = 4
# A claim is written in milliseconds; seconds.
_UNWRITTEN = 5.0
# With more than so many workers, all of them looking each second would be too much for the server of the files.
_CROWD = 1000
_SHORTEST_WAIT, _LONGEST_WAIT = 0.1, 5.0
# A beat is due every interval: so many without one are silence, however long the interval is.
_MISSED_BEATS = 3


@dataclass(frozen=True)
class Timing:
    """Seconds by our own clock.

    ``look``: between two looks, of up to 1,000 workers. ``silence``: an attempt whose beat stays the same for so long, and for
    so many ``reads``, is over. ``patience``: so long an attempt without work goes on looking for some.
    """

    look: float = 1.0
    silence: float = 60.0
    reads: int = 6
    patience: float = 300.0


TIMING = Timing()


class Claimer:
    """Of one attempt, by name; ``worker`` says which ranges are its own."""

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        submission: Submission,
        worker: int,
        attempt: str,
        *,
        timing: Timing | None = None,
        board: Board | None = None,
        clock: Callable[[], float] = time.monotonic,
        inflow: Inflow | None = None,
    ) -> None:
        self._board = board or FileBoard(run, submission.number)
        self._table = plan.table
        self._rest = Rest(submission.work(plan.table), plan.table)
        self._ranges = submission.ranges
        self._crowds = max(1.0, submission.workers / _CROWD)
        self._attempt = attempt
        self._timing = timing or TIMING
        self._interval = submission.node.sync_interval
        self._silence = max(self._timing.silence, _MISSED_BEATS * self._interval)
        self._clock = clock
        self._dice = random.Random(attempt)
        self._inflow = inflow
        if (upstream := Upstream.of(plan)) and upstream.overlaps:
            from jobs.node.supervisor.inflow import Inflow  # few runs need it

            self._inflow = Inflow(upstream, self.look, clock)
        self._own = deque(range(worker, len(self._ranges), submission.workers))
        self._begun: Mapping[int, list[int]] = {}
        self._known: dict[str, Attempt] = {}
        self._sightings: dict[str, Sighting] = {}
        self._looking_since: float | None = None
        self._empty_since: dict[int, float] = {}
        self._cuts: dict[Claim, tuple[int, int]] = {}

    # --- finding work

    def next(self, rate: float, setup: float) -> Claim | float | None:
        """What to work on now; or seconds until this is to be asked again; None: leave, there is nothing worth taking.

        ``rate`` is rows a second, 0 where nothing was done yet; ``setup``, the seconds until work could begin.
        """
        found = self._next(IdlePace(rate, setup if rate or setup else None))
        if isinstance(found, Claim):
            self._sightings.clear()
            self._looking_since = None
        return found

    def _next(self, pace: IdlePace) -> Claim | float | None:
        while (own := next((own for own in self._own if self._has(*self._ranges[own])), None)) is not None:
            self._own.remove(own)
            if claim := self._take(self._whole(own)):
                return claim
        for _ in range(_TRIES):
            if not self._board.is_open():
                return None
            self._begun = self._board.begun()
            self._look([self._attempt])
            wish = self._unclaimed() or self._of_another(pace)
            if not isinstance(wish, Claim):
                return wish
            if claim := self._take(wish):
                return claim
        return self._timing.look  # each time somebody was quicker

    def _take(self, claim: Claim) -> Claim | None:
        is_there = claim.start < claim.stop and self._has(claim.start, claim.stop)
        return claim if is_there and self._board.take(claim) else None

    def _has(self, start: int, stop: int) -> bool:
        """Whether the samples of these rows are there."""
        return self._inflow is None or self._inflow.has(start, stop)

    def _whole(self, range_: int) -> Claim:
        start, stop = self._ranges[range_]
        return Claim(range_, 1, self._attempt, start, stop)

    def _unclaimed(self) -> Claim | None:
        """A range that nobody has begun: any, for others look for one at the same time."""
        free = [number for number in self._free() if self._has(*self._ranges[number])]
        return self._whole(self._dice.choice(free)) if free else None

    def _free(self) -> list[int]:
        ranges = enumerate(self._ranges)
        return [number for number, (start, stop) in ranges if start < stop and number not in self._begun]

    def _of_another(self, pace: IdlePace) -> Claim | float | None:
        """The best of what others have left of some ranges; else how long to wait, or None: leave.

        Those first of which it is not known yet how they are. If each attempt read all claims, that would be the square of
        their number.
        """
        undone = self._undone()
        some = self._dice.sample(undone, len(undone))
        some.sort(key=self._is_settled)
        some = some[:_LOOKED_AT]
        self._look_at(some)
        return self._unwritten(some) or self._best(self._left(some), pace) or self._wait(self._undone())

    def _undone(self) -> list[int]:
        """The ranges of which rows are left, as far as is known."""
        return [number for number in self._begun if self._rest.rows.within(*self._ranges[number])]

    def _unwritten(self, some: Collection[int]) -> Claim | None:
        """A range whose claims have stayed empty, or are damaged: whoever began to write them has died, and nobody has it."""
        now = self._clock()
        seen = [number for number in {*self._empty_since, *some} if self._rest.is_unwritten(number)]
        self._empty_since = {number: self._empty_since.get(number, now) for number in seen}
        overdue = [number for number in some if now - self._empty_since.get(number, now) >= _UNWRITTEN]
        if not overdue:
            return None
        number = self._dice.choice(overdue)
        return replace(self._whole(number), number=self._rest.next_number(number))

    def _left(self, ranges: Iterable[int]) -> list[Stretch]:
        """What others have of these and nobody has done, as far as is known."""
        return [stretch for stretch in self._rest.stretches(ranges) if stretch.claim.attempt != self._attempt]

    def _best(self, near: Iterable[Stretch], pace: IdlePace) -> Claim | None:
        """What nobody works at comes first, and then the most."""
        margin = self._interval + 2 * self.look
        over, at_work = [], []
        for stretch in near:
            name = stretch.claim.attempt
            if self._sightings[name].is_over:
                over.append(inherited(stretch, self._table))
            else:
                at_work.append(split(stretch, self._known[name].beat, pace, margin, self._table))
        offers = list(filter(None, over)) or list(filter(None, at_work))
        best = max(offers, key=lambda claim: claim.stop - claim.start, default=None)
        return replace(best, attempt=self._attempt) if best else None

    def _wait(self, undone: Collection[int]) -> float | None:
        if self._inflow and self._free() and (seconds := self._inflow.wait) is not None:
            return min(seconds, self.look)
        now = self._clock()
        if self._looking_since is None:
            self._looking_since = now
        patience = max(self._timing.patience, 2 * self._silence)
        if now - self._looking_since > patience or all(map(self._is_settled, undone)):
            return None
        seconds = min(_LONGEST_WAIT, self.look)
        return min(seconds, max(_SHORTEST_WAIT, now - self._looking_since))  # at first often: short runs end soon

    # --- looking at others

    def _look_at(self, ranges: Collection[int]) -> None:
        """Reads the claims of these ranges, and the last beats of those who have rows of them left."""
        for number in ranges:
            self._rest.learn_claims(number, self._board.claims(number, self._begun[number]))
        self._look({stretch.claim.attempt for stretch in self._left(ranges)})

    def _look(self, names: Iterable[str]) -> None:
        attempts = {name: self._board.attempt(name) for name in names}
        self._known |= attempts
        self._rest.learn_beats([attempt.beat for attempt in attempts.values()])
        for name, attempt in attempts.items():
            now, number = self._clock(), attempt.beat.number
            sighting = self._sightings.setdefault(name, Sighting(number, number, now))
            sighting.read(number, now)
            sighting.is_over = attempt.is_over or self._board.has_died(attempt) or self._is_silent(sighting)

    def _is_silent(self, sighting: Sighting) -> bool:
        return sighting.reads >= self._timing.reads and self._clock() - sighting.since >= self._silence

    def _is_settled(self, number: int) -> bool:
        """Whether nothing of the range is to be waited for: who has it went on working, or what it left was offered."""
        holders = {stretch.claim.attempt for stretch in self._left([number])}
        return self._rest.knows(number, self._begun[number]) and all(map(self._is_at_work_or_over, holders))

    def _is_at_work_or_over(self, name: str) -> bool:
        sighting = self._sightings.get(name)
        if sighting is None:
            return False
        return sighting.is_over or (sighting.number != sighting.first and self._known[name].beat.rate > 0)

    # --- what the attempt works on

    def done_by(self, claim: Claim) -> Mapping[int, Spans]:
        """Of samples that are taken while their run goes on: by which submission of that they were done."""
        return self._inflow.done_by(claim.start, claim.stop) if self._inflow else {}

    @property
    def look(self) -> float:
        """Seconds between two looks at what others have taken: all workers together look no more than 1,000 times a second."""
        return self._timing.look * self._crowds

    def rows(self, claim: Claim) -> Spans:
        """Those of the claim that are still its own and to be done."""
        if not self._board.is_open():
            return Spans()
        self._look([self._attempt])
        return self._held(claim, self._beside(claim)) & self._rest.rows

    def _beside(self, claim: Claim) -> list[Claim]:
        """All claims of its range."""
        return self._board.claims(claim.range, self._board.begun().get(claim.range, ()))

    def _held(self, claim: Claim, claims: Iterable[Claim]) -> Spans:
        # With the claim itself: a network file system may not list yet what we have just made.
        return holdings({claim, *claims})[claim]

    def taken_from(self, claim: Claim) -> int:
        """From which row on the claim is another's by now; its ``stop`` where nothing was taken.

        All of it is taken once the submission has ended. While nothing happens, this costs one look for a name.
        """
        newest, stop = self._cuts.get(claim, (claim.number, claim.stop))
        if not self._board.has(claim.range, newest + 1):
            return stop
        if not self._board.is_open():
            return claim.start
        claims = self._beside(claim)
        written = (other.number for other in claims if other.attempt)
        held = self._held(claim, claims)
        stop = next((piece_stop for start, piece_stop in held if start == claim.start), claim.start)
        self._cuts[claim] = max(written, default=claim.number), stop
        return stop

    def seen(self) -> list[Attempt]:
        """The submission's other attempts, so far as they were looked at, as they were then."""
        return [attempt for name, attempt in sorted(self._known.items()) if name != self._attempt]

    def is_too_late(self) -> bool:
        """Whether others have begun its own ranges, and all is done or given up."""
        return all(self._board.has(range_, 1) for range_ in self._own) and self.all_done()

    def all_done(self) -> bool:
        """Whether no row of the submission is left: each is done or given up. Where somebody works, few are asked for that."""
        self._look([self._attempt])
        self._begun = self._board.begun()
        undone = self._undone()
        self._dice.shuffle(undone)
        for first in range(0, len(undone), _LOOKED_AT):
            some = undone[first : first + _LOOKED_AT]
            self._look_at(some)
            if not all(self._sightings[stretch.claim.attempt].is_over for stretch in self._left(some)):
                return False
        return not self._rest.rows
