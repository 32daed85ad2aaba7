"""What very many shards and array tasks cost is counted: files opened, questions to the scheduler, memory; and all is right.

`make test` has a tenth of what `make scale` has: 100,000 shards on 1,000 array tasks. What the counts mean is in docs/scale.md.
"""

import os
from collections.abc import Iterator

import h5py
import numpy as np
import pytest

from jobs.kinds import RunState, ShardState
from jobs.storage.submission import Submission
from tests.scale.simulation import SHARD, Simulation, simulate
from tests.support.memory_executor import memory_scheduler

SHARDS = int(os.environ.get("SCALE_SHARDS", "10000"))
ELEMENTS = int(os.environ.get("SCALE_ELEMENTS", "100"))
FEW = 40
"""Files that a command opens whatever the run's size: the plan, submissions, and what it writes."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    with memory_scheduler() as scheduler:
        yield simulate(Simulation(tmp_path_factory.mktemp("scale"), SHARDS, ELEMENTS, scheduler))


def per_attempt(run: Simulation, step: str, kind: str) -> float:
    """How often a step opened a file of a kind, for each attempt."""
    return run.observed[step].opened[kind] / (ELEMENTS + len(run.killed))


@pytest.mark.parametrize("step", ["plan", "submit", "list"])
def test_what_plans_submits_or_lists_opens_few_files(run: Simulation, step: str) -> None:
    opened = run.observed[step].opened
    assert opened.total() <= FEW
    assert opened["journal"] <= 3, "those by which a folder for runs is tried"


def test_plan_and_submission_are_small(run: Simulation) -> None:
    assert run.run.plan.stat().st_size < 8 << 10
    assert run.run.submission(1).stat().st_size < (4 << 10) + 32 * ELEMENTS


def test_the_scheduler_is_asked_a_few_times_whatever_the_size(run: Simulation) -> None:
    assert max(run.questions.values()) <= 2


def test_memory_grows_with_neither_samples_nor_files(run: Simulation) -> None:
    grown = {step: seen.memory >> 20 for step, seen in run.observed.items()}
    assert grown.pop("plan") < 128, "with all that it imports"
    assert max(grown.values()) < 64, grown


def test_an_idle_array_task_looks_at_the_beats_of_16_others(run: Simulation) -> None:
    """And once at each claim: what that is for all of them together is the first thing that gets too much."""
    opened = run.observed["idle"].opened
    assert opened["journal"] <= 17
    assert opened["claim"] <= ELEMENTS + 1


@pytest.mark.parametrize("step", ["first look", "again", "healing", "complete", "status"])
def test_a_look_opens_each_journal_once_and_nothing_else_of_an_attempt(run: Simulation, step: str) -> None:
    opened = run.observed[step].opened
    assert opened["journal"] <= ELEMENTS + len(run.killed)
    assert opened["data"] == opened["claim"] == 0
    assert opened.total() - opened["journal"] <= FEW


def test_a_run_that_goes_on_is_told_as_it_is(run: Simulation) -> None:
    found = run.statuses["first look"]
    failed, lost = ELEMENTS, run.lost().count
    assert (found.state, found.total) == (RunState.RUNNING, SHARDS * SHARD)
    assert (found.ok, found.failed, found.missing) == (SHARDS * SHARD - failed - lost, failed, lost)
    assert found.count(ShardState.DONE) == SHARDS - len(run.killed)
    assert (found.ok, found.failed) == (run.statuses["again"].ok, run.statuses["again"].failed)


def test_what_killed_array_tasks_left_is_submitted_again_and_nothing_else(run: Simulation) -> None:
    again = Submission.read(run.run.submission(2))
    assert again.work(run.plan.table) == run.lost()
    assert again.tasks <= len(run.killed)
    assert run.run.submission_numbers() == [1, 2]


def test_healing_reads_journals_and_claims_alone(run: Simulation) -> None:
    opened = run.observed["heal"].opened
    assert per_attempt(run, "heal", "journal") <= 3
    assert per_attempt(run, "heal", "claim") <= 1
    assert opened["data"] == 0
    assert opened.total() - opened["journal"] - opened["claim"] <= FEW + len(run.killed), "the last words of their logs"


@pytest.mark.parametrize(("step", "times"), [("end", 6), ("verify", 7)])
def test_checking_all_bytes_opens_each_data_file_once(run: Simulation, step: str, times: int) -> None:
    assert per_attempt(run, step, "data") <= 1
    assert per_attempt(run, step, "journal") <= times


def test_the_result_has_every_sample_as_it_was_computed(run: Simulation) -> None:
    first, second = (Submission.read(run.run.submission(number)).ranges for number in (1, 2))
    failed = sorted({row for rows in (*first, *second) for row in run.failing(rows)})
    rows = np.arange(SHARDS * SHARD)
    ok = ~np.isin(rows, failed)
    with h5py.File(run.run.result) as file:
        assert file.attrs["complete"]
        assert np.array_equal(file["status"][()], np.where(ok, 1, 2))
        assert np.array_equal(file["half"][ok], rows[ok] / 2)
        assert np.array_equal(file["errors/row"][()], failed)
    found = run.statuses["complete"]
    assert (found.state, found.ok, found.failed) == (RunState.COMPLETE, len(rows) - len(failed), len(failed))


def test_files_of_a_run_are_those_of_its_attempts(run: Simulation) -> None:
    """A journal and a data file each; the claims have gone."""
    files = [path for path in run.run.path.rglob("*") if path.is_file()]
    attempts = ELEMENTS + Submission.read(run.run.submission(2)).tasks
    assert sum(path.parent == run.run.attempts for path in files) == 2 * attempts
    assert len(files) - 2 * attempts <= FEW
    assert not list(run.run.submissions.glob("*.claims"))
