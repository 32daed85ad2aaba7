"""kill -9 of any process of an array task, at any moment, again and again: the same bytes in the end, and no orphan."""

import random
import subprocess
from pathlib import Path

import psutil
import pytest

from jobs.storage.rundir import RunDir
from tests.support.task_runs import alive, attempts, command, content, is_done, make_run, run_task


@pytest.mark.parametrize("params", [{"delay": 0.003}, pytest.param({"wait": 0.04}, marks=pytest.mark.thorough)])
def test_thirty_kills_of_random_processes_change_nothing(tmp_path: Path, params: dict[str, float]) -> None:
    reference = make_run(tmp_path / "reference", "Random", 1500)
    assert run_task(reference).returncode == 0
    run = make_run(tmp_path / "run", "Random", 1500, params=params, processes=2, sync_interval=0.2)
    dice, kills, starts = random.Random(20), 0, 0
    while not is_done(run):
        starts += 1
        assert starts < 100
        kills += run_and_kill(run, dice, 30 - kills)
    assert kills >= 30 or attempts(run)[-1].beat.end == "done"
    assert content(run) == content(reference)


def run_and_kill(run: RunDir, dice: random.Random, budget: int) -> int:
    """One attempt in which random processes of the tree are killed; returns how many were."""
    kills = 0
    task = subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    supervisor = psutil.Process(task.pid)
    tree = [supervisor]
    while task.poll() is None:
        try:
            task.wait(dice.uniform(0.05, 0.4))
        except subprocess.TimeoutExpired:
            tree = [supervisor, *supervisor.children(recursive=True)]
            if kills < budget:
                dice.choice(tree).kill()
                kills += 1
    psutil.wait_procs(tree, 10)
    assert alive(tree) == []
    return kills
