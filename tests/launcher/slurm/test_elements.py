"""Elements of which Slurm knows nothing any more: why they ended is told by what they and Slurm wrote at the time."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import RunError
from jobs.kinds import EndReason
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.retry.finalize import Ending
from launcher.retry.policy import Allocation
from launcher.runs.submissions import update
from launcher.slurm import scheduler
from launcher.slurm.calls import NoAnswer
from launcher.slurm.element_failures import find_failures
from launcher.slurm.parsers import Accounted
from tests.support.builders import AttemptWriter, build_plan

GIB = 1 << 30
SAID = "slurmstepd: error: *** JOB 70 ON n1 CANCELLED AT 2026-11-28T21:12:25"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of one shard of two batches, of one element, job 12 whose element is 70."""
    run = build_plan(tmp_path / "run", (0, 16))
    update(run, Submission.read(run.submission(1)), job_ids=("12",))
    return run


def answers(monkeypatch: pytest.MonkeyPatch, *rows: Accounted, error: Exception | None = None) -> None:
    """A site without accounting, whose controller knows these rows."""

    def accounting(job_ids: Iterable[str], since: float, cluster: str | None) -> list[Accounted]:
        raise RunError("sacct: Slurm accounting storage is disabled")

    def jobs(job_ids: Iterable[str], cluster: str | None) -> list[Accounted]:
        if error:
            raise error
        return list(rows)

    monkeypatch.setattr(scheduler, "accounting", accounting)
    monkeypatch.setattr(scheduler, "jobs", jobs)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)


def attempt(run: RunDir, **told: Any) -> AttemptWriter:
    return AttemptWriter(run, worker=0, index=0, **{"native_id": "70", "host": "n1", **told})


def find(run: RunDir, time_limit: int | None = None) -> Ending:
    return find_failures(run, Plan.read(run.plan), Submission.read(run.submission(1)), time_limit)


def kind(run: RunDir, time_limit: int | None = None) -> str | None:
    failure = find(run, time_limit).tasks.get(0)
    return failure.kind if failure else None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (f"{SAID} ***", "CANCELLED"),
        (f"{SAID} DUE TO TIME LIMIT ***", "TIMEOUT"),
        (f"{SAID} DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", "NODE_FAIL"),
        (f"{SAID} DUE TO PREEMPTION ***", "PREEMPTED"),
        (f"{SAID} DUE TO JOB REQUEUE ***", "CANCELLED"),  # while it waited: it never started again
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=70.batch. Some", "OUT_OF_MEMORY"),
        (f"{SAID} ***".replace("JOB 70", "JOB 71"), "LOST"),
    ],
)
def test_slurms_own_words_in_the_log_tell_why_a_silent_attempt_ended(
    run: RunDir, forgotten: None, words: str, expected: str
) -> None:
    attempt(run).close()
    run.submission_log(1).write_text(f"{words}\n")
    assert kind(run) == expected


@pytest.mark.parametrize(
    ("words", "expected"), [(f"{SAID} ***", "CANCELLED"), (f"{SAID} DUE TO TIME LIMIT ***", None), ("", None)]
)
def test_what_left_in_good_order_goes_on_unless_somebody_cancelled_it(
    run: RunDir, forgotten: None, words: str, expected: str | None
) -> None:
    attempt(run).end(EndReason.STOPPED)
    run.submission_log(1).write_text(f"{words}\n")
    assert kind(run) == expected


@pytest.mark.parametrize(("state", "else_kind"), [("CANCELLED", "CANCELLED"), ("FAILED", "CRASH")])
def test_what_was_killed_for_its_memory_is_not_what_slurm_calls_it(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, state: str, else_kind: str
) -> None:
    answers(monkeypatch, Accounted("12", 0, state, "0:9", "n1", 0, "100M", "10"))
    attempt(run).close()
    assert kind(run) == else_kind
    killed = "slurmstepd: error: StepId=70.batch exceeded memory limit (182140928 > 104857600), being killed"
    run.submission_log(1).write_text(f"{killed}\n{SAID} ***\n")
    assert kind(run) == "OUT_OF_MEMORY"


@pytest.mark.parametrize(("taken", "expected"), [(GIB, "LOST"), (2 * GIB, "OUT_OF_MEMORY")])
def test_an_attempt_that_was_last_heard_of_with_too_much_memory_died_of_that(
    run: RunDir, forgotten: None, taken: int, expected: str
) -> None:
    writer = attempt(run, memory=round(1.8 * GIB))
    writer.beat(memory=taken)
    writer.close()
    assert kind(run) == expected
    assert find(run).allocations[0] == Allocation("n1", 2 * GIB)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("left", "expected"), [(600.0, "LOST"), (5.0, "TIMEOUT"), (-30.0, "TIMEOUT")])
def test_an_attempt_that_was_heard_of_until_its_time_was_over_was_ended_for_that(
    run: RunDir, forgotten: None, told: bool, left: float, expected: str
) -> None:
    now = time.time()
    writer = attempt(run, began=now - 3600 + left, **({"deadline": now + left} if told else {}))
    writer.beat(time=now)
    writer.close()
    assert kind(run, None if told else 3600) == expected
    assert find(run).allocations[0].time == (3600 if told else None)


def test_what_never_began_and_is_forgotten_is_not_started_once_more_unasked(run: RunDir, forgotten: None) -> None:
    assert kind(run) == "CANCELLED"


def test_a_controller_that_does_not_answer_is_waited_for(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, error=NoAnswer("scontrol: Unable to contact slurm controller"))
    attempt(run).close()
    with pytest.raises(NoAnswer):
        find(run)


def test_a_controller_that_cannot_be_asked_is_named(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, error=RunError("scontrol: no"))
    monkeypatch.setattr("launcher.slurm.element_failures._ACCOUNTING_SECONDS", 0.0)
    attempt(run).close()
    (failure,) = find(run).tasks.values()
    assert failure.kind == "LOST"
    assert "disabled), nor its controller (scontrol: no)" in failure.message
