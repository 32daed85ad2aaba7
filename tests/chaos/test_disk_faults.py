"""A disk that fails, at any call, for once or from then on; full, slow, gone: it is told, and what follows is right.

CHAOS_FAULTS=150 in the environment is the long version, of some minutes.
"""

import errno
import itertools
import os
import random
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from jobs.storage.rundir import RunDir
from tests.support.chaos import amount
from tests.support.disk_calls import DiskCalls, disk_calls
from tests.support.launcher_runs import (
    command,
    datasets,
    environment,
    launcher,
    run_of,
    start,
    wait_until,
    write_config,
)
from tests.support.patience import PATIENCE
from tests.support.task_runs import await_end, done_rows, make_run, run_task

FAULTS = amount("FAULTS", 2, 5)
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
ROWS = 120
SHARES: list[Any] = [pytest.param(0.3, marks=pytest.mark.thorough), 0.9]
if FAULTS > 5:
    SHARES = np.linspace(0.05, 1.0, 12).tolist()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = write_config(tmp_path, ROWS, job="Everything", params={"wait": 0.02}, retry={"attempts": 1})
    run_of(made).path.parent.mkdir()
    return made


@pytest.fixture
def disk(tmp_path: Path, config: Path) -> DiskCalls:
    return disk_calls(tmp_path, run_of(config).path.parent)


def run_with(config: Path, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`launcher run` with these variables in its environment; nothing of it is left when it has ended."""
    done = subprocess.run(
        command("run", config), cwd=config.parent, env={**environment(), **more}, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    await_end(left_of(config))
    return done


def left_of(config: Path) -> list[psutil.Process]:
    """Processes that name the run's folder."""
    text = str(config.parent)
    return [
        p
        for p in psutil.process_iter(["cmdline", "pid"])
        if text in " ".join(p.info["cmdline"] or ()) and p.pid != os.getpid()
    ]


def texts(run: RunDir) -> str:
    """All that array tasks and executors have written for people to read."""
    paths = [*run.logs.glob("*.log"), *run.submissions.glob("*.log")]
    return "\n".join(path.read_text(errors="replace") for path in paths)


def assert_told(done: subprocess.CompletedProcess[str], run: RunDir, what: str) -> None:
    said = f"{what}: exit code {done.returncode}\n{done.stdout}{done.stderr}{texts(run)}"
    assert "Traceback" not in said, said
    assert done.returncode in (0, 1, 2), said
    assert done.returncode == 0 or "launcher" in done.stdout + done.stderr, said


def assert_goes_on(config: Path, expected: dict[str, np.ndarray], what: str) -> None:
    again = launcher(config.parent, "run", config)
    assert again.returncode == 0, f"{what}: {again.stdout}{again.stderr}"
    found = datasets(run_of(config).result)
    assert found.keys() == expected.keys(), what
    assert all(np.array_equal(expected[name], found[name]) for name in expected), what


def test_any_call_that_fails_is_told_and_the_next_start_gives_the_same_result(config: Path, disk: DiskCalls) -> None:
    run, dice, ends = run_of(config), random.Random(4), Counter[str]()
    assert run_with(config, disk.counting()).returncode == 0
    calls, expected = disk.counted, datasets(run.result)
    regions = np.linspace(1, calls + 1, FAULTS + 1).astype(int)
    for first, stop in itertools.pairwise(regions):
        number, error, ever = dice.randrange(first, max(stop, first + 1)), dice.choice(ERRORS), dice.random() < 0.5
        what = f"call {number} of {calls}, {errno.errorcode[error]}{', and all that follow' if ever else ''}"
        shutil.rmtree(run.path)
        done = run_with(config, disk.failing(number, error, ever=ever))
        assert_told(done, run, what)
        if done.returncode == 0:
            assert all(np.array_equal(expected[name], data) for name, data in datasets(run.result).items()), what
        ends["complete all the same" if done.returncode == 0 else "refused"] += 1
        assert_goes_on(config, expected, what)
    print(f"{FAULTS} faults in {calls} calls: {dict(ends)}")


def test_a_data_file_that_cannot_be_made_is_told_as_that(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 40)
    disk = disk_calls(tmp_path, run.attempts)
    for number in range(1, 12):  # one of these calls makes it
        done = run_task(run, env={**environment(), **disk.failing(number, errno.ENOSPC)})
        assert "Traceback" not in done.stdout + done.stderr
        if ".data" in done.stdout:
            break
        shutil.rmtree(run.attempts)
        run.make()
    assert re.search(r"DISK: .*\.data: No space left on device", done.stdout), done.stdout


def test_a_slow_disk_changes_nothing(config: Path, disk: DiskCalls) -> None:
    run = run_of(config)
    assert run_with(config, disk.slow(5)).returncode == 0
    slow = datasets(run.result)
    shutil.rmtree(run.path)
    assert_goes_on(config, slow, "slow")


@pytest.mark.parametrize("share", SHARES)
def test_a_disk_that_fills_up_is_told_and_what_was_stored_counts(config: Path, share: float) -> None:
    run = run_of(config)
    assert launcher(config.parent, "run", config).returncode == 0
    expected = datasets(run.result)
    pages = sum(-(-path.stat().st_size // 4096) + 1 for path in run.path.rglob("*"))
    shutil.rmtree(run.path)
    place = run.path.parent
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={max(4, int(pages * share)) * 4}k", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system needs the right to mount one")
    try:
        done = run_with(config, {})
        assert_told(done, run, f"{share:.0%} of what it needs")
        subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
        assert_goes_on(config, expected, "after room was made")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_run_whose_folder_is_removed_ends_with_a_message(config: Path) -> None:
    run = run_of(config)
    process = start(config.parent, "run", config, "--set", "job.params.wait=0.3")
    wait_until(lambda: run.plan.exists() and done_rows(run))
    shutil.rmtree(run.path, ignore_errors=True)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode in (1, 2), said
    assert "Traceback" not in said
    await_end(left_of(config))
