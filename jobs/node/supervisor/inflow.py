"""Inflow: the rows of a run that overlaps with the one whose samples it has: which of them are there to be worked on.

It knows the last beats of that run's attempts, and asks no scheduler. What a beat says is done is durable, so it can be read.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from jobs.errors import RunError
from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.spans import Spans, union
from jobs.storage.upstreams import Upstream

# Of the time, so much at most goes into reading how far the other run is: it may have thousands of attempts.
_SHARE = 0.05
# Seconds without a beat from any of its attempts after which nothing more is expected of it: it waits for nodes, or is dead.
PATIENCE = 300.0
# The same where all its submissions have ended: of one that was cancelled array tasks may be about to say what they have done.
_AFTER_END = 30.0


class Inflow:
    """``look``: seconds between two looks at the other run, at the least, by the ``clock``."""

    def __init__(
        self, upstream: Upstream, look: float, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE
    ) -> None:
        self._upstream = upstream
        self._run = upstream.directory
        self._attempts = Attempts(self._run)
        self._look = look
        self._clock = clock
        self._patience = patience
        self._due = self._seen_at = clock()
        self._beats: Mapping[str, int] = {}
        self._has_ended = self._are_over = False
        self._done: dict[int, Spans] = {}
        self._there = Spans()

    def has(self, start: int, stop: int) -> bool:
        """Whether rows ``[start, stop)`` are there. Raises RunError where the other run is not what it was."""
        if not self._knows(start, stop) and self._clock() >= self._due:
            self._read()
        return self._knows(start, stop)

    def _knows(self, start: int, stop: int) -> bool:
        return self._there.within(start, stop).count == stop - start

    def done_by(self, start: int, stop: int) -> Mapping[int, Spans]:
        """Of rows that are there: which submission of the other run has done them, or an earlier one than is read."""
        some = {number: rows.within(start, stop) for number, rows in self._done.items()}
        return {number: rows for number, rows in some.items() if rows}

    def _read(self) -> None:
        began = time.monotonic()
        if problem := self._upstream.objection():
            raise RunError(problem)
        plan = Plan.read(self._run.plan)
        part = next(part for part in plan.results if part.name == self._upstream.manifest)
        self._has_ended = self._upstream.has_ended  # before its beats are read: the last ones come before its end
        attempts = self._attempts.read()
        self._learn(_by_submission(part, attempts))
        beats = {attempt.name: attempt.beat.number for attempt in attempts}
        if beats != self._beats:
            self._beats, self._seen_at = beats, self._clock()
        self._are_over = all(attempt.is_over for attempt in attempts)
        self._due = self._clock() + max(self._look, (time.monotonic() - began) / _SHARE)

    def _learn(self, done: Mapping[int, Spans]) -> None:
        """Notes of each row who did it, once: whoever loads it may have looked at any time since the first look here.

        So of several the earliest counts, whose rows are told to be stale if it is wrong; at first the newest, which they see.
        """
        for number in sorted(done, reverse=not self._there):
            self._done[number] = self._done.get(number, Spans()) | (done[number] - self._there)
            self._there |= done[number]

    @property
    def wait(self) -> float | None:
        """Seconds until the next look; None where nothing more is to be expected before somebody goes on with the other run."""
        now = self._clock()
        silence = now - self._seen_at
        if silence > (_AFTER_END if self._has_ended else self._patience) or (self._has_ended and self._are_over):
            return None
        return max(self._due - now, 0.0)


def _by_submission(part: Part, attempts: Iterable[Attempt]) -> dict[int, Spans]:
    """The rows of a part that each submission has done, counted from its first."""
    done: dict[int, list[Spans]] = {}
    for attempt in attempts:
        done.setdefault(attempt.submission, []).append(attempt.beat.done)
    return {number: part.own(union(rows)) for number, rows in done.items()}
