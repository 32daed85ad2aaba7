"""Undone: the rows that an ended submission has left, who had them last, and why they are not done.

A row was had last by the attempt with the newest claim that covers it; where nobody has claimed it, by the array task whose
range it lies in. Of two attempts that did the same rows both counted the samples that failed in them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from jobs.kinds import AnyFailureKind, EndReason, FailureKind
from jobs.storage.attempts import Attempt
from jobs.storage.claims import Claim, holdings
from jobs.storage.plans import Plan
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from launcher.runs.failures import Failure
from launcher.runs.holders import worker_of

_LEFT = "its attempt ended well, but left it undone"


@dataclass(frozen=True)
class Left:
    """Rows that array task ``index`` had, and why they are not done (None: it had to leave); ``progress``: it did others."""

    rows: Spans
    index: int
    failure: Failure | None
    progress: bool


@dataclass(frozen=True)
class Undone:
    """What a submission has left. ``tasks`` says why array tasks ended whose attempts do not tell, by index.

    Of samples that are taken while their run goes on, ``to_come`` are rows that this has not done yet, and ``again`` those that
    it has done again since. ``goes_on``: whether it still does; else nobody tries those to come.
    """

    plan: Plan
    submission: Submission
    attempts: Sequence[Attempt]
    claims: Collection[Claim]
    tasks: Mapping[int, Failure]
    to_come: Spans | None = None
    goes_on: bool = False
    again: Spans = field(default_factory=Spans)

    @cached_property
    def rows(self) -> Spans:
        """Its rows that no attempt of it has done, whoever did them before."""
        return self.submission.work(self.plan.table) - union(attempt.beat.done for attempt in self.attempts)

    @cached_property
    def given_up(self) -> dict[int, Failure]:
        """The shards that an attempt gave up, by number."""
        return {
            one.shard: Failure(one.kind, one.message, one.shard)
            for attempt in self.attempts
            for one in attempt.beat.given_up
        }

    def failed_samples(self) -> dict[int, int]:
        """By shard that several attempts shared, how many samples failed in all, or more."""
        found = dict(self.submission.failed_before)
        for attempt in self.attempts:
            for shard, samples in attempt.beat.shared.items():
                found[shard] = found.get(shard, 0) + samples
        return found

    def left(self, given_up: Mapping[int, Failure]) -> Iterator[Left]:
        """All undone rows that somebody is to do; those of shards that are ``given_up`` for that reason, whoever had them."""
        ours = self.plan.table.rows_of(given_up)
        if again := self.again & self.submission.work(self.plan.table) - self.rows - ours:
            is_first = self.submission.resources.continues is None  # later it costs an attempt: this has to end
            yield Left(self.plan.table.whole_batches(again), 0, None, is_first)
        for rows, index, attempt, is_claimed in self._held():
            for shard in self.plan.table.shards_in(rows & ours).numbers:
                yield Left(rows & self.plan.table.rows_of([shard]), index, given_up[shard], False)
            if others := rows - ours:
                has_come = (
                    self.to_come is not None and not is_claimed and attempt and attempt.beat.end is EndReason.DONE
                )
                failure, progress = (None, self._has_done_any) if has_come else self._why(index, attempt)
                yield Left(others, index, failure, progress)

    def _held(self) -> Iterator[tuple[Spans, int, Attempt | None, bool]]:
        """Who had which of the undone rows: the array index, and the attempt; and whether that began with them."""
        named = {attempt.name: attempt for attempt in self.attempts}
        unclaimed = self.rows
        for claim, held in holdings(self.claims).items():
            if rows := held & self.rows:
                yield rows, self._index(claim.attempt), named.get(claim.attempt), True
                unclaimed -= rows
        # Of each task the last attempt: it is the one that got no further.
        last = {self._index(attempt.name): attempt for attempt in sorted(self.attempts, key=_begun)}
        for number, range_ in enumerate(self.submission.ranges):
            index = number % self.submission.workers // self._nodes
            rows = unclaimed.within(*range_)
            unclaimed -= rows
            if rows := rows - self._left_to_come(index, last.get(index)):
                yield rows, index, last.get(index), False
        if unclaimed:  # a submission that an older version wrote has no ranges
            yield unclaimed, 0, None, False

    def _left_to_come(self, index: int, attempt: Attempt | None) -> Spans:
        """The rows that an array task has left because they were not there; one that ended early would have waited for them."""
        ended_early = attempt.beat.end is not EndReason.DONE if attempt else index in self.tasks
        return Spans() if self.to_come is None or (self.goes_on and ended_early) else self.to_come

    @property
    def _has_done_any(self) -> bool:
        return any(attempt.beat.done for attempt in self.attempts)

    def _index(self, attempt: str) -> int:
        """The array index of the attempt of that name."""
        return worker_of(attempt) // self._nodes

    @property
    def _nodes(self) -> int:
        return self.submission.resources.nodes_per_task or 1

    def _why(self, index: int, attempt: Attempt | None) -> tuple[Failure | None, bool]:
        if attempt is None:
            return self.tasks.get(index), False
        end, progress = attempt.beat.end, bool(attempt.beat.done)
        if end is EndReason.FAILED:
            return Failure(attempt.beat.kind or FailureKind.ERROR, attempt.beat.message, -1), progress
        if end is None or end is EndReason.STOPPED:
            return self.tasks.get(index), progress
        return self.tasks.get(index) or Failure(FailureKind.LOST, _LEFT, -1), progress


def _begun(attempt: Attempt) -> tuple[int, float]:
    """By the scheduler's count first: two starts of a task may be on machines whose clocks differ."""
    return (attempt.start.restart, attempt.start.time) if attempt.start else (0, 0.0)


def by_shard(plan: Plan, left: Iterable[Left]) -> dict[int, Failure]:
    """Why shards are not done, as far as that is a failure: of each shard, the one of its first rows."""
    found: dict[int, Failure] = {}
    for one in sorted(left, key=lambda one: one.rows.first):
        if one.failure:
            for shard in plan.table.shards_in(one.rows).numbers:
                found.setdefault(shard, replace(one.failure, shard=shard))
    return found


def alike(left: Iterable[Left]) -> dict[tuple[AnyFailureKind | None, bool], list[Left]]:
    """Those that ended alike: with the same kind of failure; or without one, having done something or nothing."""
    found: dict[tuple[AnyFailureKind | None, bool], list[Left]] = {}
    for one in left:
        how = (one.failure.kind, False) if one.failure else (None, one.progress)
        found.setdefault(how, []).append(one)
    return found
