"""FailureBudget: the failed samples of an attempt, by cause and by shard, and which shards have too many of them.

The budget (node.max_failed_samples) is the whole shard's, whoever works on it: what others have found counts as their
beats tell it, and what earlier submissions have, as this one's file does.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from jobs.kinds import FailureKind
from jobs.storage.attempts import Attempt
from jobs.storage.plans import Plan, Submission
from jobs.storage.records import FailedSample, GivenUp
from jobs.storage.sample_failures import FailureTally, SampleFailures
from jobs.storage.spans import Spans, union

# Every beat repeats them all, however many there are.
_MESSAGE_CHARACTERS = 500
_EXAMPLES = 100
_NO_EXAMPLE = "see the log"


@dataclass
class _Failing:
    """Failed samples of a shard; ``message`` is that of the first, ``are_alike`` says that the others have the same."""

    message: str
    samples: int = 0
    are_alike: bool = True


class FailureBudget:
    """``others`` are the other attempts of the submission, as last read."""

    def __init__(self, plan: Plan, submission: Submission, others: Callable[[], Iterable[Attempt]]) -> None:
        self._plan = plan
        self._submission = submission
        self._others = others
        self._tally = FailureTally()
        self._shards: dict[int, _Failing] = {}
        self._suspects: set[int] = set()
        self.given_up: dict[int, GivenUp] = {}

    def add(self, failed: Iterable[FailedSample]) -> None:
        """Counts samples of a batch that was committed."""
        for sample in failed:
            shard = self._plan.table.shard_at(sample.row)
            self._tally.add(sample.kind, sample.message, shard)
            failing = self._shards.setdefault(shard, _Failing(sample.message))
            failing.samples += 1
            failing.are_alike &= sample.message == failing.message
            self._suspects.add(shard)

    def groups(self) -> tuple[SampleFailures, ...]:
        """All of them, by cause."""
        return self._tally.groups()

    def shared(self, done: Spans) -> dict[int, int]:
        """Failed samples of the shards that the attempt, which has done these rows, has not all done: others may go on."""
        whole = self._plan.table.whole_shards(done)
        return {shard: failing.samples for shard, failing in self._shards.items() if shard not in whole}

    def check(self, open_failures: Collection[int], stored: Callable[[], Spans]) -> list[GivenUp]:
        """Shards that are to be given up from now on. ``open_failures``: rows that failed and are not committed yet."""
        if not self._suspects and not open_failures:
            return []
        suspects = self._suspects | set(map(self._plan.table.shard_at, open_failures))
        self._suspects = set()
        judged = (self._judge(shard, open_failures, stored) for shard in sorted(suspects - self.given_up.keys()))
        found = [one for one in judged if one]
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
            budget = self._submission.node.failure_budget(self._plan.shard(shard).rows)
            if failed + samples > budget and shard not in self.given_up:
                message = f"sample {min(rows)} alone needs more memory than the task has, and only {budget} may fail"
                found.append(GivenUp(shard, FailureKind.OUT_OF_MEMORY, message))
        self.given_up |= {one.shard: one for one in found}
        return found

    def _judge(self, shard: int, open_failures: Collection[int], stored: Callable[[], Spans]) -> GivenUp | None:
        rows = self._plan.shard(shard)
        others = list(self._others())
        own = self._shards.get(shard, _Failing(_NO_EXAMPLE, are_alike=False))
        closed = own.samples + sum(one.beat.shared.get(shard, 0) for one in others)
        open_ = sum(rows.start <= row < rows.stop for row in open_failures)
        failed = closed + open_ + self._submission.failed_before.get(shard, 0)
        budget = self._submission.node.failure_budget(rows.rows)
        if failed <= budget:
            return None
        example = own.message if len(self.given_up) < _EXAMPLES else _NO_EXAMPLE
        done = union([stored(), *(one.beat.done for one in others)]).within(rows.start, rows.stop)
        if own.are_alike and done.count <= closed:
            message = f"every sample so far failed: {example}"
            return GivenUp(shard, FailureKind.ERROR, message[:_MESSAGE_CHARACTERS])
        message = (
            f"{failed} of {rows.rows} samples failed, {budget} may (node.max_failed_samples); for example: {example}"
        )
        return GivenUp(shard, FailureKind.TOO_MANY_FAILED_SAMPLES, message[:_MESSAGE_CHARACTERS])
