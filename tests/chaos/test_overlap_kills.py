"""Stages that overlap are killed, frozen, cancelled and run again: each row is made of the one that counts in the stage before.

The first stage stores which submission of it has done a row, and those after it copy that: so what was made of a row that was
done again since is seen. CHAOS_OVERLAPS=50 in the environment is the long version, of some minutes.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from jobs.kinds import RunState
from jobs.storage.attempts import Attempts
from tests.support.chains import run_in
from tests.support.chaos import amount
from tests.support.launcher_runs import ROOT, wait_until
from tests.support.storm import HOOK, NAMES, ROWS, Storm, processes
from tests.support.task_runs import done_rows

SEEDS = amount("OVERLAPS", 1, 4)
EVENTS = 12 if SEEDS > 1 else 6


@pytest.fixture(autouse=True)
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Array tasks look often, and have little patience."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", f"{hooks}{os.pathsep}{ROOT}")
    monkeypatch.chdir(tmp_path)
    yield
    for name in NAMES:
        for process in processes(run_in(tmp_path, name), executors=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.mark.parametrize("is_mild", [True, pytest.param(False, marks=pytest.mark.thorough)], ids=["mild", "wild"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_row_is_made_of_the_one_that_counts(tmp_path: Path, seed: int, is_mild: bool) -> None:
    dice = random.Random(f"{seed} {is_mild}")
    storm = Storm(tmp_path, dice, stages=dice.choice((2, 3)), is_mild=is_mild)
    storm.begin()
    for _ in range(EVENTS):
        time.sleep(dice.uniform(0.05, 0.6))
        storm.strike()
    storm.end()
    storm.finish()
    storm.assert_right()
    print(f"seed {seed}, {len(storm.names)} stages: {dict(sorted(storm.seen.items()))}")


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(max(3, SEEDS)))
def test_it_is_submitted_twice_while_the_other_run_ends(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    storm = Storm(tmp_path, dice, stages=2, is_mild=True)
    storm.begin("first")
    wait_until(lambda: done_rows(run_in(tmp_path, "first")).count > ROWS // 2)
    time.sleep(dice.uniform(0, 2))
    storm.at_once(("submit", "second.yaml"), ("submit", "second.yaml"))
    storm.end()
    assert storm.status("second").state is RunState.COMPLETE, storm.told()
    storm.assert_right()
    attempts = Attempts(run_in(tmp_path, "second")).read()
    assert sum(attempt.beat.done.count for attempt in attempts) == ROWS, storm.told()
