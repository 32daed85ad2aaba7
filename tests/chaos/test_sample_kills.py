"""kill -9 while samples are in flight, of any process, and of engines: each row once, the right one, with the same bytes.

CHAOS_SAMPLE_KILLS=200 in the environment is the long version, as each night.
"""

import itertools
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.storage.rundir import RunDir
from tests.chaos.test_task_kills import kill_until_done
from tests.support.chaos import amount
from tests.support.launcher_runs import ROOT, wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import (
    alive,
    command,
    commits,
    content,
    engine,
    engines,
    failures,
    make_run,
    run_task,
    written,
)

# Seconds until an engine is gone whose ancestor has died, and what a busy machine may take besides.
_GONE, _SLACK = 1.0, 2.0


def test_kills_of_random_processes_change_no_sample(tmp_path: Path) -> None:
    kills = amount("SAMPLE_KILLS", 3, 200)
    rows = min(100 * kills, 6_000)
    job, params = "tests.example_jobs.sample_jobs:Waits", {"seconds": 0.02, "uneven": 5}
    settings: dict[str, Any] = {"processes": 2, "in_flight": 16, "sync_interval": 0.2, "workers": 1}
    reference = make_run(tmp_path / "reference", job, rows, batch_size=1, workers=1, in_flight=256)
    assert run_task(reference).returncode == 0
    dice, killed = random.Random(7), 0
    for number in itertools.count():  # how many a run takes before it is done is the machine's to say
        run = make_run(tmp_path / f"run{number}", job, rows, batch_size=1, params=params, **settings)
        killed += kill_until_done(run, dice, kills - killed, **settings)
        assert failures(run) == {}
        assert len(commits(run)) == rows
        assert content(run) == content(reference)
        if killed == kills:
            break
    print(f"{killed} kills in {number + 1} runs of {rows} samples")


# --- engines


@contextmanager
def generating(tmp_path: Path, rows: int, **bad: str) -> Iterator[tuple[RunDir, psutil.Process]]:
    """A task that asks an engine, which answers by prompt and seed alone."""
    pytest.importorskip("aiohttp")
    words = engine(Path("."), **bad)
    params = {"model": "none", "prompt": "number {x}", "retries": 1_000_000, "start_timeout": 60.0, "command": words}
    tmp_path.mkdir(exist_ok=True)
    run = make_run(
        tmp_path / "run", "jobs.text_generation:TextGeneration", rows, batch_size=1, params=params, in_flight=16, workers=1
    )  # fmt: skip
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with open(tmp_path / "log", "wb") as log:
        task = psutil.Popen(command(run), stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path})
        try:
            yield run, task
        finally:
            if task.is_running():
                task.kill()
            task.wait(PATIENCE)


@pytest.mark.thorough
def test_kills_of_engines_change_no_sample(tmp_path: Path) -> None:
    rows, kills, most = 4_000, 0, amount("ENGINE_KILLS", 20)
    with generating(tmp_path / "reference", rows) as (reference, task):
        assert task.wait(PATIENCE) == 0
    for number in itertools.count():
        with generating(tmp_path / f"{number}", rows) as (run, task):
            kills += kill_engines(run, task, most - kills)
            assert task.wait(PATIENCE) == 0
        assert failures(run) == {}
        assert len(commits(run)) == rows
        assert content(run) == content(reference)
        if kills == most:
            break
    print(f"{kills} kills of engines in {number + 1} runs of {rows} samples")


def kill_engines(run: RunDir, task: psutil.Process, most: int) -> int:
    """Each once it has answered; returns how many it was until the task was done."""
    kills, before = 0, 0
    while alive([task]) and kills < most:
        if written(run) >= before + 40 and (found := engines(task)):
            found[0].kill()
            psutil.wait_procs(found, PATIENCE)
            kills, before = kills + 1, written(run)
        time.sleep(0.02)
    return kills


@pytest.mark.thorough
@pytest.mark.parametrize("whom", ["warden", "process", "guardian", "fork server", "supervisor", "all"])
def test_no_engine_is_left_a_second_after_the_death_of_any_of_its_ancestors(tmp_path: Path, whom: str) -> None:
    with generating(tmp_path, 40, row20="429") as (run, task):
        wait_until(lambda: written(run) == 39)
        (engine,) = engines(task)
        warden, process, guardian, server, supervisor = engine.parents()[:5]
        assert supervisor == task
        began = time.monotonic()
        ancestors = {"process": process, "guardian": guardian, "fork server": server, "supervisor": task}
        for one in ancestors.values() if whom == "all" else [{**ancestors, "warden": warden}[whom]]:
            one.kill()
        wait_until(lambda: not alive([engine]))
        assert time.monotonic() - began < _GONE + _SLACK
        print(f"{whom}: {time.monotonic() - began:.2f} s")
    wait_until(lambda: alive([engine, process, guardian, server]) == [])
