"""kill -9 of any process of an array task, at any moment, again and again: the same bytes in the end, and no orphan."""

import random
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.kinds import EndReason
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from tests.support.task_runs import (
    attempts,
    await_end,
    command,
    content,
    done_rows,
    is_done,
    make_run,
    run_task,
    write_submission,
    written,
)


@pytest.mark.parametrize("params", [{"delay": 0.003}, pytest.param({"wait": 0.04}, marks=pytest.mark.thorough)])
def test_thirty_kills_of_random_processes_change_nothing(tmp_path: Path, params: dict[str, float]) -> None:
    reference = make_run(tmp_path / "reference", "Random", 1500)
    assert run_task(reference).returncode == 0
    run = make_run(tmp_path / "run", "Random", 1500, params=params, processes=2, sync_interval=0.2)
    kills = kill_until_done(run, random.Random(20), 30, processes=2, sync_interval=0.2)
    assert kills == 30 or attempts(run)[-1].beat.end == "done"
    assert content(run) == content(reference)


def kill_until_done(run: RunDir, dice: random.Random, budget: int, **settings: Any) -> int:
    """Attempts in which random processes are killed, until all is done; returns how many were.

    Rows with which three attempts have begun in vain are left to another submission, as a finalize job makes it.
    """
    kills, submission = 0, 1
    while not is_done(run):
        kills += run_and_kill(run, dice, budget - kills, submission)
        if attempts(run)[-1].beat.end is EndReason.DONE and not is_done(run):
            submission += 1
            assert submission < budget + 10
            left = Plan.read(run.plan).table.rows_of([0]) - done_rows(run)
            write_submission(run, rows=left, number=submission, **settings)
    return kills


def run_and_kill(run: RunDir, dice: random.Random, budget: int, submission: int = 1) -> int:
    """One attempt in which random processes of the tree are killed, most often once it has stored something."""
    kills, before, begins = 0, written(run), dice.random() < 0.2
    task = subprocess.Popen(command(run, 0, submission), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    supervisor = psutil.Process(task.pid)
    tree = [supervisor]
    while task.poll() is None:
        try:
            task.wait(dice.uniform(0.05, 0.4))
        except subprocess.TimeoutExpired:
            tree = [supervisor, *supervisor.children(recursive=True)]
            begins = begins or written(run) > before
            if kills < budget and begins:
                dice.choice(tree).kill()
                kills += 1
    await_end(tree)
    return kills
