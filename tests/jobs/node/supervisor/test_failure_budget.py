"""What is counted of the failed samples of a shard."""

from pathlib import Path

import pytest

from jobs.kinds import FailureKind, SampleFailureKind
from jobs.node.supervisor.failure_budget import FailureBudget, _Failing
from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat
from jobs.storage.plans import Plan
from jobs.storage.records import FailedSample
from jobs.storage.spans import Spans
from tests.support.task_runs import make_run, write_submission


def _failed(row: int, message: str) -> FailedSample:
    return FailedSample(row, SampleFailureKind.PROCESS, message)


def test_a_reason_that_comes_after_very_many_others_is_counted() -> None:
    failing = _Failing("first")
    for row in range(500):
        failing.add(_failed(row, "no such word: " + "x" * row))
    for row in range(500, 550):
        failing.add(_failed(row, f"engine is dead, says request {row}"))
    assert max(failing.reasons.values()) == (50, "engine is dead, says request 549")
    assert len(failing.reasons) == 100


@pytest.mark.parametrize(
    ("rows", "failed", "may_fail", "may_be_alike", "kind"),
    [
        (5000, 900, 0.2, None, None),  # as many as were allowed
        (5000, 60, 500, None, None),
        (5000, 260, 0.01, None, FailureKind.ERROR),
        (5000, 260, 0.2, 0.05, FailureKind.ERROR),
        (800, 41, 0.01, None, None),  # small: it is finished, and fails then
        (800, 41, 0.2, 0.05, FailureKind.ERROR),
        (800, 40, 0.2, 0.05, None),
    ],
)
def test_of_what_may_fail_all_may_fail_for_one_reason_unless_the_user_says_less(
    tmp_path: Path, rows: int, failed: int, may_fail: float, may_be_alike: float | None, kind: FailureKind | None
) -> None:
    run = make_run(tmp_path / "run", "Toy", rows)
    submission = write_submission(run, number=2, max_failed_samples=may_fail, max_same_failure=may_be_alike)
    budget = FailureBudget(Plan.read(run.plan), submission, tuple)
    budget.add(_failed(row, f"engine is dead, says request {row}") for row in range(failed))
    stored = Attempt("a", run.journal("a"), None, Beat(0, 0.0, done=Spans([(0, failed + 100)])))
    assert [one.kind for one in budget.check((), lambda: stored)] == [one for one in [kind] if one]
