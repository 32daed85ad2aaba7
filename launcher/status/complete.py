"""CompleteRun: a run that ended with all done and its result written, told by its outcome, without a look at attempts.

`launcher list` shows very many of these, on file systems where to open a file takes a millisecond.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.kinds import RunState, ShardState
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from launcher.runs.submissions import SubmissionState, chosen_output, read_submissions


@dataclass(frozen=True)
class CompleteRun:
    """What a summary shows of a Status."""

    total: int
    failed: int
    shard_count: int
    manifests: Sequence[Part]
    state = RunState.COMPLETE
    rate = None
    eta = None

    @property
    def ok(self) -> int:
        return self.total - self.failed

    def count(self, state: ShardState) -> int:
        """Shards in a state."""
        return self.shard_count if state is ShardState.DONE else 0


def read_complete(run: RunDir) -> CompleteRun | None:
    """None where the run is not complete, or its files do not say so by themselves."""
    submissions = read_submissions(run)
    failed = _failed_at_the_end(submissions)
    if failed is None:
        return None
    plan, chosen = Plan.read(run.plan), chosen_output(submissions)
    if not all(run.result_of(part.name, chosen).is_file() for part in plan.results):
        return None
    return CompleteRun(plan.rows, failed, plan.shard_count, plan.parts)


def _failed_at_the_end(submissions: Sequence[SubmissionState]) -> int | None:
    """Samples that failed, as the submission that ended last says, where that found all done; None where one goes on."""
    outcomes = [one.outcome for one in submissions if one.outcome]
    if not outcomes or len(outcomes) < len(submissions):
        return None
    last = max(outcomes, key=lambda outcome: outcome.ended)
    return None if last.cancelled or last.error else last.failed_samples
