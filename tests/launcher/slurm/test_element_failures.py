"""Element failures: what is asked of the accounting, and what is not, by what the attempts of elements tell."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import RunError
from jobs.kinds import EndReason, FailureKind
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import Resources, Submission
from launcher.retry.finalize import Ending
from launcher.retry.policy import Allocation
from launcher.runs.submissions import update
from launcher.slurm import element_failures, scheduler
from launcher.slurm.element_failures import find_failures
from launcher.slurm.parsers import Accounted
from tests.support.builders import AttemptWriter, build_plan

Knows = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of three shards of two batches, submitted as job 12 with an element each."""
    run = build_plan(tmp_path / "run", (0, 16, 32, 48))
    update(run, submission(run), job_ids=("12",))
    return run


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> Knows:
    """Says what sacct knows: states by array index."""

    def set_rows(*states: tuple[int, str, str]) -> None:
        rows = [Accounted("12", index, state, code, "n7", 0, "4G", "10") for index, state, code in states]

        def accounting(job_ids: Iterable[str], since: float, cluster: str | None) -> list[Accounted]:
            assert list(job_ids) == ["12"]
            return rows

        monkeypatch.setattr(scheduler, "accounting", accounting)

    monkeypatch.setattr(element_failures, "_ACCOUNTING_SECONDS", 0.0)
    set_rows()
    return set_rows


def submission(run: RunDir) -> Submission:
    return Submission.read(run.submission(1))


def attempt(run: RunDir, index: int, batches: int, *, restart: int = 0, worker: int | None = None) -> AttemptWriter:
    """An attempt of an element that has done some batches of its shard, without an end."""
    writer = AttemptWriter(run, worker=index if worker is None else worker, index=index, restart=restart)
    for batch in range(batches):
        writer.commit(16 * index + 8 * batch, 16 * index + 8 * batch + 8)
    writer.beat()
    return writer


def find(run: RunDir) -> Ending:
    return find_failures(run, Plan.read(run.plan), submission(run))


def kinds(run: RunDir) -> dict[int, str]:
    return {index: failure.kind for index, failure in find(run).tasks.items()}


def test_where_all_rows_are_done_nobody_is_asked(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(scheduler, "accounting")
    attempt(run, 0, 2).close()  # killed after its last beat
    attempt(run, 1, 2).end()
    attempt(run, 2, 2).end()
    assert find(run) == Ending()


def test_an_attempt_that_tells_why_it_ended_is_believed_and_what_it_had_is_told(run: RunDir, knows: Knows) -> None:
    attempt(run, 0, 1).end(EndReason.FAILED, FailureKind.OUT_OF_MEMORY, "too much")
    attempt(run, 1, 2).end()
    attempt(run, 2, 2).end()
    knows((0, "FAILED", "1:0"), (1, "COMPLETED", "0:0"), (2, "COMPLETED", "0:0"))
    found = find(run)
    assert found.tasks == {}
    assert found.allocations[0] == Allocation("n7", 4 << 30, 600)


def test_what_left_no_end_is_what_the_accounting_says(run: RunDir, knows: Knows) -> None:
    attempt(run, 0, 1).close()
    attempt(run, 1, 2).end()
    knows((0, "FAILED", "0:9"), (1, "COMPLETED", "0:0"), (2, "FAILED", "127:0"))
    assert kinds(run) == {0: "CRASH", 2: "LAUNCH"}


@pytest.mark.parametrize(
    ("state", "kind"), [("CANCELLED", "CANCELLED"), ("PREEMPTED", "PREEMPTED"), ("NODE_FAIL", "NODE_FAIL")]
)
def test_what_had_to_leave_goes_on_unless_somebody_else_ended_it(
    run: RunDir, knows: Knows, state: str, kind: str
) -> None:
    attempt(run, 0, 1).end(EndReason.STOPPED)
    attempt(run, 1, 1).end(EndReason.STOPPED)
    attempt(run, 2, 2).end()
    knows((0, "FAILED", "75:0"), (1, state, "0:15"))
    assert kinds(run) == {1: kind}


def test_a_time_limit_that_came_after_some_work_is_no_failure(run: RunDir, knows: Knows) -> None:
    attempt(run, 0, 1).close()
    attempt(run, 1, 0).close()
    attempt(run, 2, 2).end()
    knows((0, "TIMEOUT", "0:0"), (1, "TIMEOUT", "0:0"))
    assert kinds(run) == {1: "TIMEOUT"}


def test_of_a_requeued_element_the_last_start_counts(run: RunDir, knows: Knows) -> None:
    attempt(run, 0, 1).close()
    attempt(run, 0, 0, restart=1).end(EndReason.FAILED, FailureKind.ERROR, "no")
    attempt(run, 1, 2).end()
    attempt(run, 2, 1, restart=1).close()
    attempt(run, 2, 0).end()
    knows((0, "FAILED", "1:0"), (1, "COMPLETED", "0:0"), (2, "FAILED", "0:9"))
    assert kinds(run) == {2: "CRASH"}


def test_of_an_element_on_two_nodes_each_has_to_tell(run: RunDir, knows: Knows) -> None:
    update(run, submission(run), tasks=2, resources=Resources(nodes_per_task=2))
    attempt(run, 0, 1, worker=0).end(EndReason.FAILED, FailureKind.ERROR, "no")
    attempt(run, 0, 0, worker=1).close()
    attempt(run, 1, 1, worker=2).end()
    attempt(run, 1, 2, worker=3).end()
    knows((0, "NODE_FAIL", "1:0"), (1, "COMPLETED", "0:0"))
    assert kinds(run) == {0: "NODE_FAIL"}


def test_of_a_submission_by_an_older_version_one_element_stands_for_all(run: RunDir, knows: Knows) -> None:
    old = replace(submission(run), rows=Spans(), ranges=(), shards=(0, 1, 2))
    knows((0, "COMPLETED", "0:0"), (1, "FAILED", "0:9"), (2, "COMPLETED", "0:0"))
    found = find_failures(run, Plan.read(run.plan), old)
    assert {index: failure.kind for index, failure in found.tasks.items()} == {0: "CRASH"}


def test_an_accounting_that_does_not_answer_is_named(
    run: RunDir, knows: Knows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accounting(job_ids: Iterable[str], since: float, cluster: str | None) -> list[Accounted]:
        raise RunError("sacct: no")

    monkeypatch.setattr(scheduler, "accounting", accounting)
    attempt(run, 0, 1).close()
    assert kinds(run) == {0: "LOST", 1: "LOST", 2: "LOST"}
    assert "cannot be asked (sacct: no)" in find(run).tasks[0].message


def test_the_end_of_an_elements_own_log_is_told_or_else_that_of_all(run: RunDir, knows: Knows) -> None:
    run.log(1, 0).write_text("its own\n")
    run.submission_log(1).write_text("of all\n")
    knows((0, "FAILED", "1:0"), (1, "FAILED", "127:0"), (2, "COMPLETED", "0:0"))
    attempt(run, 0, 1).close()
    attempt(run, 2, 2).end()
    found = find(run).tasks
    assert found[0].message.endswith("its own")
    assert found[1].message.endswith("of all")
