"""CompleteRun: a run that ended with all done and its result written, told by its outcome, without a look at attempts.

`launcher list` shows very many of these, on file systems where to open a file takes a millisecond.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.kinds import RunState, ShardState
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from launcher.runs.result_place import ResultPlace, result_places
from launcher.runs.submissions import Outcome, SubmissionState, read_submissions
from launcher.status.counted import Counted


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
    beyond_samples = ""
    missing = 0
    counted = Counted()

    @property
    def ok(self) -> int:
        return self.total - self.failed

    def count(self, state: ShardState) -> int:
        """Shards in a state."""
        return self.shard_count if state is ShardState.DONE else 0


def read_complete(run: RunDir) -> CompleteRun | None:
    """None where the run is not complete, or its files do not say so by themselves."""
    submissions = read_submissions(run)
    last = _at_the_end(submissions)
    if last is None or last.failed_samples is None:
        return None
    plan = Plan.read(run.plan)
    was_extended = plan.grown and submissions[-1].number <= plan.grown[-1].submission  # after it was complete
    if was_extended or plan.after:  # whether it still is complete, those before it tell
        return None
    places = result_places(run, plan, submissions)
    gathers = submissions[-1].submission.resources.gathers
    if len(places) != len(last.seals) or (gathers and not all(map(_has_seal, places, last.seals))):
        return None
    return CompleteRun(plan.rows, last.failed_samples, plan.shard_count, plan.parts)


def _at_the_end(submissions: Sequence[SubmissionState]) -> Outcome | None:
    """How the newest submission ended, where none goes on; it may not be the last to end, and then did not find all done."""
    outcomes = [one.outcome for one in submissions if one.outcome]
    if not outcomes or len(outcomes) < len(submissions):
        return None
    last = outcomes[-1]
    return None if last.cancelled or last.error else last


def _has_seal(place: ResultPlace, seal: str) -> bool:
    try:
        return place.seal == seal
    except OSError:
        return False
