"""Inflow: the rows of a run that overlaps with the one whose samples it has: which of them are there to be worked on.

It knows the last beats of that run's attempts, and asks no scheduler. What a beat says is done is durable, so it can be read.
"""

import time
from collections.abc import Callable, Mapping

from jobs.errors import RunError
from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.spans import Spans, union
from jobs.storage.upstreams import Upstream, rows_done

# Of the time, so much at most goes into reading how far the other run is: it may have thousands of attempts.
_SHARE = 0.05
# Seconds without a beat from any of its attempts after which nothing more is expected of it: it waits for nodes, or is dead.
PATIENCE = 300.0
# The same where all its submissions have ended: of one that was cancelled array tasks may be about to say what they have done.
_AFTER_END = 30.0


class Inflow:
    """``look``: seconds between two looks at the other run, at the least; ``clock``: for how long it shows no sign of life."""

    def __init__(
        self, upstream: Upstream, look: float, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE
    ) -> None:
        self._upstream = upstream
        self._run = upstream.directory
        self._attempts = Attempts(self._run)
        self._look = look
        self._clock = clock
        self._patience = patience
        self._due = time.monotonic()
        self._seen: Mapping[str, int] = {}
        self._seen_at = clock()
        self._are_over = False
        self._done: dict[int, Spans] = {}
        self._there = Spans()

    def has(self, start: int, stop: int) -> bool:
        """Whether rows ``[start, stop)`` are there. Raises RunError where the other run is not what it was."""
        if self._there.within(start, stop).count < stop - start and time.monotonic() >= self._due:
            self._read()
        return self._there.within(start, stop).count == stop - start

    def sources(self, start: int, stop: int) -> Mapping[int, Spans]:
        """Of rows that are there: which submission of the other run has done them."""
        some = {number: rows.within(start, stop) for number, rows in self._done.items()}
        return {number: rows for number, rows in some.items() if rows}

    def _read(self) -> None:
        if problem := self._upstream.objection():
            raise RunError(problem)
        began, plan = time.monotonic(), Plan.read(self._run.plan)
        part = next(part for part in plan.results if part.name == self._upstream.manifest)
        attempts = self._attempts.read()
        for number, rows in rows_done(part, attempts).items():
            # Whoever did it first, though another submission has done it again since: who loads it may have seen the first.
            self._done[number] = self._done.get(number, Spans()) | (rows - self._there)
        self._there = union(self._done.values())
        beats = {attempt.name: attempt.beat.number for attempt in attempts}
        if beats != self._seen:
            self._seen, self._seen_at = beats, self._clock()
            self._are_over = all(attempt.is_over for attempt in attempts)
        now = time.monotonic()
        self._due = now + max(self._look, (now - began) / _SHARE)

    @property
    def wait(self) -> float | None:
        """Seconds until the next look; None where nothing more is to be expected before somebody goes on with the other run."""
        if self._is_over():
            there = self._there
            self._read()  # what came before that
            if self._there != there:
                return 0.0
            if self._is_over():
                return None
        return max(self._due - time.monotonic(), 0.0)

    def _is_over(self) -> bool:
        silence = self._clock() - self._seen_at
        if self._upstream.has_ended:
            return self._are_over or silence > _AFTER_END
        return silence > self._patience
