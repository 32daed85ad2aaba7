"""kill -9 of any process of a run, the launcher included, at any moment: the result's bytes stay the same."""

import os
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from jobs.storage.attempts import Attempts, owners, read_commits, read_head
from jobs.storage.blocks import BlockReader
from tests.support.launcher_runs import datasets, kill, launcher, run_of, start, write_config
from tests.support.task_runs import alive

KILLS = 30


def test_thirty_kills_of_any_process_of_a_run_leave_the_same_result_and_no_orphan(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"rows": 800, "job": "Random", "shards": 4, "node": {"processes": 2, "workers": 1}}
    calm = write_config(tmp_path / "calm", **settings)
    assert launcher(calm.parent, "run", calm).returncode == 0
    config = write_config(tmp_path / "wild", **settings, params={"delay": 0.004})
    dice, kills, starts = random.Random(7), 0, 0
    while not run_of(config).result.exists():
        starts += 1
        assert starts < 60
        kills += run_and_kill(config, dice, KILLS - kills)
    assert kills == KILLS or starts > 1
    assert launcher(config.parent, "verify", run_of(config).path).returncode == 0
    expected, found = datasets(run_of(calm).result), datasets(run_of(config).result)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    for owned in owners(Attempts(run_of(config)).read()):
        with BlockReader(read_head(owned.attempt).files) as files:
            assert not any(files.damaged(commit.blocks) for commit in read_commits(owned.attempt, owned.rows))


def run_and_kill(config: Path, dice: random.Random, budget: int) -> int:
    """`launcher run` once, killing random processes of it; returns how many were killed."""
    kills = 0
    process = start(config.parent, "run", config)
    root = psutil.Process(process.pid)
    seen: set[psutil.Process] = {root}
    while process.poll() is None:
        try:
            process.wait(dice.uniform(0.2, 0.8))
        except subprocess.TimeoutExpired:
            tree = [root, *root.children(recursive=True)]
            seen |= set(tree)
            if kills < budget:
                dice.choice(tree).kill()
                kills += 1
    kill(process)
    seen |= set(of_run(config))
    psutil.wait_procs(list(seen), 10)
    assert alive(list(seen)) == []
    return kills


def of_run(config: Path) -> list[psutil.Process]:
    """Processes that name the run's folder, also those whose parents are gone."""
    text = str(config.parent)
    return [
        p
        for p in psutil.process_iter(["cmdline", "pid"])
        if text in " ".join(p.info["cmdline"] or ()) and p.pid != os.getpid()
    ]
