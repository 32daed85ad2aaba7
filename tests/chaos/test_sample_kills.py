"""kill -9 while samples are in flight, of any process, and of engines: each row once, the right one, with the same bytes."""

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
from tests.chaos.test_task_kills import run_and_kill
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
    is_done,
    make_run,
    run_task,
    written,
)

# Seconds until an engine is gone whose ancestor has died, and what a busy machine may take besides.
_GONE, _SLACK = 1.0, 2.0


@pytest.mark.parametrize(("kills", "rows"), [(3, 300), pytest.param(200, 12_000, marks=pytest.mark.thorough)])
def test_kills_of_random_processes_change_no_sample(tmp_path: Path, kills: int, rows: int) -> None:
    job, params = "tests.example_jobs.sample_jobs:Waits", {"seconds": 0.02, "uneven": 5}
    settings: dict[str, Any] = {"processes": 2, "in_flight": 16, "sync_interval": 0.2, "workers": 1}
    reference = make_run(tmp_path / "reference", job, rows, batch_size=1, workers=1, in_flight=256)
    assert run_task(reference).returncode == 0
    run = make_run(tmp_path / "run", job, rows, batch_size=1, params=params, **settings)
    dice, killed, starts = random.Random(7), 0, 0
    while not is_done(run):
        starts += 1
        assert starts < 5 * kills + 10
        killed += run_and_kill(run, dice, kills - killed)
    assert killed == kills
    assert failures(run) == {}
    assert len(commits(run)) == rows
    assert content(run) == content(reference)


# --- engines


@contextmanager
def generating(tmp_path: Path, rows: int, **bad: str) -> Iterator[tuple[RunDir, psutil.Process]]:
    """A task that asks an engine, which answers by prompt and seed alone."""
    pytest.importorskip("aiohttp")
    words = engine(Path("."), **bad)
    params = {"model": "none", "prompt": "number {x}", "retries": 1_000_000, "start_timeout": 60.0, "command": words}
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


def await_rows(run: RunDir, count: int) -> None:
    wait_until(lambda: written(run) >= count)


@pytest.mark.thorough
def test_twenty_kills_of_engines_change_no_sample(tmp_path: Path) -> None:
    rows, kills, before = 4_000, 0, 0
    with generating(tmp_path, rows) as (run, task):
        while kills < 20:
            wait_until(lambda: len(engines(task)) == 1)
            (engine,) = engines(task)
            await_rows(run, before + 40)
            kills, before = kills + 1, written(run)
            engine.kill()
        assert task.wait(PATIENCE) == 0
    assert failures(run) == {}
    assert len(commits(run)) == rows
    with generating(tmp_path / "again", rows) as (reference, task):
        assert task.wait(PATIENCE) == 0
    assert content(run) == content(reference)


@pytest.mark.thorough
@pytest.mark.parametrize("whom", ["process", "guardian", "fork server", "supervisor"])
def test_no_engine_is_left_a_second_after_the_death_of_any_of_its_ancestors(tmp_path: Path, whom: str) -> None:
    with generating(tmp_path, 40, row20="429") as (run, task):
        wait_until(lambda: written(run) == 39)
        (engine,) = engines(task)
        process, guardian, server, supervisor = engine.parents()[:4]
        assert supervisor == task
        began = time.monotonic()
        {"process": process, "guardian": guardian, "fork server": server, "supervisor": task}[whom].kill()
        wait_until(lambda: not alive([engine]))
        assert time.monotonic() - began < _GONE + _SLACK
        print(f"{whom}: {time.monotonic() - began:.2f} s")
    wait_until(lambda: alive([engine, process, guardian, server]) == [])
