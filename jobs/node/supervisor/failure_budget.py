"""FailureBudget: the failed samples of an attempt, by cause and by shard, and which shards it gives up for having too many.

The budget (node.max_failed_samples) is the whole shard's, whoever works on it: what others have found counts as their
beats tell it, and what earlier submissions have, as this one's file does. A shard is given up only where that saves
something. Of one that was finished, whoever reads the beats tells that too many of its samples failed.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.node.supervisor.streak import reason_of
from jobs.storage.attempts import Attempt, owners, read_failed
from jobs.storage.beats import GivenUp
from jobs.storage.plans import Plan
from jobs.storage.records import FailedSample
from jobs.storage.sample_failures import FailureTally, SampleFailures
from jobs.storage.shard_table import Shard
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission

# A shard of so many samples is finished first: then all that is wrong with it is known at once, and it costs little.
_SMALL = 1000
# Unless so many of its samples have failed, and no other has been good: then it is not the samples.
_HOPELESS = 50
# Every beat repeats them all, however many there are.
_MESSAGE_CHARACTERS = 500
_EXAMPLES = 100
_NO_EXAMPLE = "see the log"
# Failed samples that are put into the log: the journal has them all.
_TOLD = 20


@dataclass
class _Failing:
    """Failed samples of a shard; ``message`` is that of the first, ``are_alike`` says that the others have the same.

    ``reasons`` counts those that failed in processing, or took too long, for one reason, and how one of
    them says it.
    """

    message: str
    samples: int = 0
    are_alike: bool = True
    reasons: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, sample: FailedSample) -> None:
        self.samples += 1
        self.are_alike &= sample.message == self.message
        if sample.kind not in (SampleFailureKind.PROCESS, SampleFailureKind.SAMPLE_TIMEOUT):
            return
        reason = reason_of(sample.message)
        if reason not in self.reasons and len(self.reasons) >= _EXAMPLES:
            # Many texts of their own, and perhaps one to come that is that of all: the rarest, of these the oldest, goes.
            del self.reasons[min(self.reasons, key=lambda one: self.reasons[one][0])]
        self.reasons[reason] = self.reasons.get(reason, (0, ""))[0] + 1, sample.message


class FailureBudget:
    """``others`` are the other attempts of the submission, as last read; ``name`` is how the sample of a row is called."""

    def __init__(
        self,
        plan: Plan,
        submission: Submission,
        others: Callable[[], Iterable[Attempt]],
        name: Callable[[int], str] = str,
    ) -> None:
        self._plan = plan
        self._submission = submission
        self._others = others
        self._name = name
        self._told = 0
        self._tally = FailureTally(name)
        self._shards: dict[int, _Failing] = {}
        self._suspects: set[int] = set()
        self.given_up: dict[int, GivenUp] = {}

    def add(self, failed: Iterable[FailedSample]) -> None:
        """Counts samples of a batch that was committed."""
        for sample in failed:
            shard = self._plan.table.shard_at(sample.row)
            self._tally.add(sample.kind, sample.message, sample.row, shard)
            failing = self._shards.setdefault(shard, _Failing(sample.message))
            failing.add(sample)
            self._suspects.add(shard)
            # Those that raised have their tracebacks in the log.
            if sample.attempts > 1 and self._told < _TOLD:
                self._tell(sample)

    def _tell(self, sample: FailedSample) -> None:
        """Puts a sample that its children died at into the log."""
        self._told += 1
        row, name = str(sample.row), self._name(sample.row)
        which = row if name == row else f"{row} ({name})"
        print(f"sample {which} failed ({sample.kind}): {sample.message}", flush=True)

    def groups(self) -> tuple[SampleFailures, ...]:
        """All of them, by cause."""
        return self._tally.groups()

    def shared(self, done: Spans) -> dict[int, int]:
        """Failed samples of the shards about which the attempt, which has done these rows, does not have the last word.

        Those that it has not all done: others may go on. And those that it has, with more than may fail.
        """
        whole = self._plan.table.whole_shards(done)
        for shard, failing in [*self._shards.items()]:
            if shard in whole and (shard in self.given_up or failing.samples <= self._limit(shard)):
                del self._shards[shard]  # there may be as many as the run has shards, and nothing more comes of these
        return {shard: failing.samples for shard, failing in self._shards.items()}

    def _limit(self, shard: int) -> int:
        return self._submission.node.failure_budget(self._plan.shard(shard).rows)

    def check(self, open_failures: Collection[int], stored: Callable[[], Attempt]) -> list[GivenUp]:
        """Shards that are to be given up from now on.

        ``open_failures``: rows that failed and are not committed yet; ``stored``: this attempt, with what it has committed.
        """
        if not self._suspects and not open_failures:
            return []
        suspects = self._suspects | set(map(self._plan.table.shard_at, open_failures))
        self._suspects = set()
        judged = (self._judge(self._plan.shard(one), open_failures, stored) for one in suspects - self.given_up.keys())
        found = sorted(filter(None, judged), key=lambda one: one.shard)
        self.given_up |= {one.shard: one for one in found}
        return found

    def short_of_memory(self, rows: Collection[int]) -> list[GivenUp]:
        """Shards that are to be given up because samples at these rows would fail for lack of memory, and too many with them.

        That comes before any other reason: with more memory they would not fail.
        """
        found = []
        for shard, samples in Counter(map(self._plan.table.shard_at, rows)).items():
            failed = self._shards[shard].samples if shard in self._shards else 0
            failed += sum(one.beat.shared.get(shard, 0) for one in self._others())
            failed += self._submission.failed_before.get(shard, 0)
            budget = self._limit(shard)
            if failed + samples > budget and shard not in self.given_up:
                message = f"sample {min(rows)} alone needs more memory than the task has, and only {budget} may fail"
                found.append(GivenUp(shard, FailureKind.OUT_OF_MEMORY, message))
        self.given_up |= {one.shard: one for one in found}
        return found

    def _judge(self, shard: Shard, open_failures: Collection[int], stored: Callable[[], Attempt]) -> GivenUp | None:
        others = list(self._others())
        limit = self._limit(shard.index)
        own = self._shards.get(shard.index, _Failing(_NO_EXAMPLE, are_alike=False))
        if found := self._one_reason(shard, own, stored):
            return found
        before = self._submission.failed_before.get(shard.index, 0)
        closed = own.samples + sum(one.beat.shared.get(shard.index, 0) for one in others)
        open_ = [row for row in open_failures if shard.start <= row < shard.stop]
        if closed + len(open_) + before <= limit:
            return None
        attempts = [stored(), *others]
        done = union(one.beat.done.within(shard.start, shard.stop) for one in attempts)
        if sum(one.beat.done.within(shard.start, shard.stop).count for one in attempts) > done.count:
            closed = _count_once(shard, attempts)  # several did the same rows, and told of the same samples
        failed = closed + sum(row not in done for row in open_) + before
        is_hopeless = own.are_alike and done.count <= closed and failed >= min(_HOPELESS, shard.rows)
        if failed <= limit or (shard.rows <= _SMALL and not is_hopeless):
            return None
        return self._give_up(shard, failed, limit, own.message, is_hopeless)

    def _one_reason(self, shard: Shard, own: _Failing, stored: Callable[[], Attempt]) -> GivenUp | None:
        """Whether so many failed for one reason, while others were good, that it is the Job or its engine, not the samples."""
        count, example = max(own.reasons.values(), default=(0, ""))
        allowed = self._submission.node.same_failures(shard.rows)
        if shard.rows <= _SMALL and own.samples > self._limit(shard.index):
            return None  # it fails in any case, once it is finished
        if count <= allowed or stored().beat.done.within(shard.start, shard.stop).count <= own.samples:
            return None
        message = (
            f"{count} of {shard.rows} samples failed for one reason, {allowed} may (node.max_same_failure), so "
            f"it is hardly the samples; the last: {example}"
        )
        return GivenUp(shard.index, FailureKind.ERROR, message[:_MESSAGE_CHARACTERS])

    def _give_up(self, shard: Shard, failed: int, limit: int, message: str, is_hopeless: bool) -> GivenUp:
        example = message if len(self.given_up) < _EXAMPLES else _NO_EXAMPLE
        if is_hopeless:
            message = f"every sample so far failed: {example}"
            return GivenUp(shard.index, FailureKind.ERROR, message[:_MESSAGE_CHARACTERS])
        message = (
            f"{failed} of {shard.rows} samples failed, {limit} may (node.max_failed_samples); for example: {example}"
        )
        return GivenUp(shard.index, FailureKind.TOO_MANY_FAILED_SAMPLES, message[:_MESSAGE_CHARACTERS])


def _count_once(shard: Shard, attempts: Sequence[Attempt]) -> int:
    """Failed samples of a shard of which several attempts did the same rows, as those have them that count."""
    found = 0
    for owned in owners(attempts):
        if rows := owned.rows.within(shard.start, shard.stop):
            found += sum(sample.row in rows for sample in read_failed(owned.attempt.journal))
    return found
