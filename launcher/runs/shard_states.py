"""Shards: where the shards of a run stand, read from its submissions and the journals of its attempts, again and again.

Of each journal the last beat is read, and of shards nothing is made until somebody asks for one: a run of a million
shards costs what its attempts cost.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from jobs.kinds import EndReason, FailureKind, ShardState
from jobs.storage.attempts import Attempt, Attempts, Ownership, owners
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.sample_failures import SampleFailures
from jobs.storage.shard_table import Shard, ShardTable
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from launcher.runs.failed_samples import FailedCounts, FailedRows, FailedSamples
from launcher.runs.failures import Failure, ShardFailures
from launcher.runs.holders import held_rows
from launcher.runs.judge import Evidence, judge
from launcher.runs.liveness import live_attempts
from launcher.runs.submissions import SubmissionState

if TYPE_CHECKING:
    from launcher.documents.status import ShardDocument


@dataclass(frozen=True)
class ShardStatus:
    """A shard and where it stands; ``ok`` and ``failed`` count samples."""

    shard: Shard
    state: ShardState
    ok: int = 0
    failed: int = 0
    failure: Failure | None = None

    def to_json(self) -> "ShardDocument":
        """An entry of ``launcher status --json --shards``."""
        found: ShardDocument = {
            "shard": self.shard.index,
            "state": self.state,
            "samples": self.shard.rows,
            "ok": self.ok,
            "failed": self.failed,
        }
        if self.failure:
            found |= {"kind": self.failure.kind, "message": self.failure.message}
        return found


class Shards:
    """All shards of a run at one moment, as a sequence of ShardStatus that are made when they are asked for."""

    def __init__(
        self,
        plan: Plan,
        known: Evidence,
        owned: Sequence[Ownership],
        counted: Sequence[FailedCounts],
        samples: FailedSamples,
    ) -> None:
        self._plan = plan
        self._known = known
        self._counted = counted
        self._samples = samples
        self._verdict = judge(known)
        self.owners = owned
        """Which attempt counts for which rows."""

    def __len__(self) -> int:
        return self._plan.shard_count

    def __iter__(self) -> Iterator[ShardStatus]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> ShardStatus:
        shard = self._plan.shard(index)
        failed = self._failed_rows.within(shard.start, shard.stop) if self.failed else 0
        ok = self.closed.within(shard.start, shard.stop).count - failed
        return ShardStatus(shard, self.state(index), ok, failed, self._failure_of.get(index))

    @property
    def table(self) -> ShardTable:
        return self._plan.table

    @property
    def attempts(self) -> Sequence[Attempt]:
        return self._known.attempts

    @property
    def live(self) -> frozenset[str]:
        """The names of attempts that go on."""
        return self._known.live

    @property
    def closed(self) -> Spans:
        """The rows that are done."""
        return self._known.closed

    def of(self, submission: Submission) -> Spans:
        """The shards that have rows in a submission's work."""
        return self._plan.table.shards_in(submission.work(self._plan.table))

    def left_of(self, submission: Submission) -> Spans:
        """The rows of a submission's work that its attempts have not done."""
        return submission.work(self._plan.table) - self.closed_by(submission.number)

    def lacks(self, known: SubmissionState) -> bool:
        """Whether rows are not done of which a submission is the last."""
        last = next((rows for one, rows in self._known.newest if one.number == known.number), Spans())
        return bool(last - self.closed)

    def closed_by(self, submission: int) -> Spans:
        """The rows that the attempts of a submission have done."""
        return self._known.closed_by.get(submission, Spans())

    @cached_property
    def _by_state(self) -> Mapping[ShardState, Spans]:
        known = self._verdict
        found = {ShardState.DONE: known.done, ShardState.FAILED: known.failed, ShardState.RUNNING: known.running}
        return {**found, ShardState.PENDING: Spans([(0, len(self))]) - union(found.values())}

    def state(self, index: int) -> ShardState:
        """Where a shard stands."""
        return next(state for state, shards in self._by_state.items() if index in shards)

    def in_state(self, state: ShardState) -> Spans:
        """The shards in a state."""
        return self._by_state[state]

    def with_failures(self) -> Spans:
        """The shards that failed, and those with failed samples."""
        some = self.table.shards_in(self._failed_rows.spans) if self.failed else Spans()
        return self.in_state(ShardState.FAILED) | some

    def count(self, state: ShardState) -> int:
        return self.in_state(state).count

    @property
    def failed(self) -> int:
        """How many samples failed."""
        return sum(one.count for one in self._counted)

    def samples_within(self, start: int, stop: int) -> tuple[int, int]:
        """How many samples of rows ``[start, stop)`` are ok, and failed."""
        failed = 0
        for owned, counted in zip(self.owners, self._counted, strict=True):
            inside = owned.rows.within(start, stop).count if counted.count else 0
            if inside == owned.rows.count:
                failed += counted.count
            elif inside:
                failed += self._samples.rows([owned]).within(start, stop)
        return self.closed.within(start, stop).count - failed, failed

    @cached_property
    def sufficient_budget(self) -> str:
        """A node.max_failed_samples with which the shards that have failed by it are done, whatever else fails.

        A number once all is known of all; before that only all samples are enough.
        """
        over = [one for one in self._verdict.failures if one.kind is FailureKind.TOO_MANY_FAILED_SAMPLES]
        counts = [self._known.failed.get(shard, 0) for one in over for shard in one.shards.numbers]
        is_known = self.closed.count == self._plan.rows and counts and all(counts)
        return str(max(counts)) if is_known else "1.0"

    def failures(self) -> Iterator[Failure | ShardFailures | SampleFailures]:
        """Why shards failed, and array tasks whose work others may still do, and samples."""
        causes = (counted.causes for counted in self._counted)
        return chain(self._verdict.failures, self._verdict.setbacks, *causes)

    @cached_property
    def _failure_of(self) -> Mapping[int, Failure]:
        failures = self._verdict.failures
        return {shard: Failure(one.kind, one.message, shard) for one in failures for shard in one.shards.numbers}

    @cached_property
    def _failed_rows(self) -> FailedRows:
        return self._samples.rows(self.owners)


class ShardReader:
    """Reads the states of a run's shards, again and again."""

    def __init__(self, run: RunDir, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._attempts = Attempts(run)
        self._samples = FailedSamples(plan.table)
        self._seen: Sequence[Attempt] = ()
        self._owned: Sequence[Ownership] = ()
        self._last: tuple[Evidence, Shards] | None = None

    def read(self, submissions: Sequence[SubmissionState]) -> Shards:
        """As of now; ``submissions`` are all that there are of the run."""
        attempts = self._attempts.read()
        has_moved = not _are_same(attempts, self._seen)
        if has_moved:
            self._seen, self._owned = attempts, owners(attempts)
        live = live_attempts(self._seen, {one.number: one for one in submissions})
        if self._last and not has_moved:
            evidence, shards = self._last
            if evidence.live == live and evidence.submissions == submissions:
                return shards
        counted = [self._samples.count(one) for one in self._owned]
        evidence = Evidence(self._plan.table, submissions, self._seen, live, failed=_shared(counted))
        evidence = replace(evidence, held=self._held(evidence))
        shards = Shards(self._plan, evidence, self._owned, counted, self._samples)
        self._last = evidence, shards
        return shards

    def _held(self, known: Evidence) -> dict[str, Spans]:
        """What attempts have left that failed, or that died with their submission; of others nobody asks."""
        held: dict[str, Spans] = {}
        for one in known.submissions:
            own = known.attempts_of.get(one.number, ())
            bad = (EndReason.FAILED,) if one.number in known.going else (EndReason.FAILED, None)
            if any(attempt.beat.end in bad for attempt in own):
                held |= held_rows(self._run, one.submission, own)
        return held


def _are_same(attempts: Sequence[Attempt], seen: Sequence[Attempt]) -> bool:
    """Whether no beat has come since; a journal that grew by commits alone says what it said."""
    if len(attempts) != len(seen):
        return False
    return all(
        one.name == old.name and one.start is old.start and (one.beat is old.beat or one.beat == old.beat)
        for one, old in zip(attempts, seen, strict=True)
    )


def _shared(counted: Sequence[FailedCounts]) -> Counter[int]:
    """Failed samples by shard, of shards that several attempts had."""
    found = Counter[int]()
    for one in counted:
        found.update(one.shared)
    return found
