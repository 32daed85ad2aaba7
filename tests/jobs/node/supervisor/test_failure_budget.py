"""What is counted of the failed samples of a shard."""

from jobs.kinds import SampleFailureKind
from jobs.node.supervisor.failure_budget import _Failing
from jobs.storage.records import FailedSample


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
