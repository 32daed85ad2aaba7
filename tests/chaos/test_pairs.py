"""Two commands on one run at the same moment: both end, each says what became of it, and the result is the right one.

CHAOS_PAIRS=112 in the environment tries all of them, in some minutes.
"""

import itertools
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.storage.rundir import RunDir
from launcher.runs.submissions import read_submissions
from tests.support.chaos import amount
from tests.support.launcher_runs import datasets, kill, launcher, run_of, start, wait_until, write_config
from tests.support.patience import PATIENCE
from tests.support.task_runs import done_rows

COMMANDS = ("plan", "submit", "run", "rerun", "gather", "verify", "cancel")
STATES = ("new", "planned", "half", "done")
ROWS = 200
ALL = [(*pair, state) for state in STATES for pair in itertools.combinations_with_replacement(COMMANDS, 2)]
PAIRS: list[Any] = [
    ("run", "run", "new"),
    pytest.param("submit", "cancel", "half", marks=pytest.mark.thorough),
    pytest.param("rerun", "gather", "done", marks=pytest.mark.thorough),
]
if amount("PAIRS", 0):
    PAIRS = random.Random(1).sample(ALL, min(amount("PAIRS", 0), len(ALL)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A config, with a copy of its run in each state beside it; and the right result."""
    folder = tmp_path_factory.mktemp("pairs")
    config = write_config(folder, ROWS, job="Everything", params={"wait": 0.05})
    run = run_of(config)
    assert launcher(folder, "plan", config).returncode == 0
    shutil.copytree(run.path, folder / "planned")
    process = start(folder, "run", config)
    wait_until(lambda: done_rows(run).count > ROWS // 4)
    kill(process)
    wait_until(lambda: has_ended(run))
    assert 0 < done_rows(run).count < ROWS
    shutil.copytree(run.path, folder / "half")
    assert launcher(folder, "run", config).returncode == 0
    shutil.copytree(run.path, folder / "done")
    return config, datasets(run.result)


def has_ended(run: RunDir) -> bool:
    """Nothing of the run goes on, and who has said so last has cleared up."""
    known = read_submissions(run)
    return not any(one.is_open or run.claims(one.number).exists() for one in known)


@pytest.mark.parametrize(("first", "second", "state"), PAIRS)
def test_two_commands_at_once_both_end_and_the_result_is_right(
    prepared: tuple[Path, dict[str, np.ndarray]], first: str, second: str, state: str
) -> None:
    config, expected = prepared
    run = run_of(config)
    shutil.rmtree(run.path, ignore_errors=True)
    if state != "new":
        shutil.copytree(config.parent / state, run.path)
    begun = [start(config.parent, name, config if name in COMMANDS[:3] else run.path) for name in (first, second)]
    for name, process in zip((first, second), begun, strict=True):
        said, _ = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in said, f"{name}: {said}"
        assert process.returncode in (0, 1, 2), f"{name}: {said}"
        assert process.returncode == 0 or "launcher" in said, f"{name}: {said}"
    if run.plan.exists():
        wait_until(lambda: has_ended(run))
    again = launcher(config.parent, "run", config)
    assert again.returncode == 0, again.stdout + again.stderr
    found = datasets(run.result)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
