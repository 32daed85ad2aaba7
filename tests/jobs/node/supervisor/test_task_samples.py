"""Array tasks whose Job takes samples one by one: real processes, and all that samples, engines and signals can do to them."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.node.generators import sample_seed
from jobs.storage.attempts import read_records
from jobs.storage.records import Commits
from jobs.storage.rundir import RunDir
from tests.support.launcher_runs import wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import (
    attempts,
    command,
    commits,
    content,
    done_rows,
    failures,
    is_done,
    last_end,
    make_run,
    results,
    run_task,
    write_submission,
    written,
)

ROWS = 100


def samples_run(path: Path, params: dict[str, Any] | None = None, rows: int = ROWS, **settings: Any) -> RunDir:
    job = "tests.example_jobs.sample_jobs:Waits"
    return make_run(path, job, rows, batch_size=1, params=params, **{"in_flight": 8, **settings})


def batches_run(path: Path, **params: Any) -> RunDir:
    return make_run(path, "tests.example_jobs.sample_jobs:Batches", 200, batch_size=8, params=params)


def numbers(run: RunDir) -> list[int]:
    """The output n of each row."""
    return [int(np.frombuffer(rows["n"], "<i4")[0]) for rows, _, failed in content(run).values() if not failed]


@contextmanager
def running(run: RunDir, submission: int = 1) -> Iterator[psutil.Process]:
    """An array task."""
    quiet = subprocess.DEVNULL
    task = psutil.Popen(command(run, submission=submission), stdout=quiet, stderr=quiet)
    try:
        yield task
    finally:
        with suppress(psutil.NoSuchProcess):
            task.kill()
        task.wait(PATIENCE)


# --- results


@pytest.mark.parametrize(("processes", "workers", "in_flight"), [(1, 0, 3), (2, 1, 64)])
def test_the_bytes_do_not_depend_on_processes_workers_and_samples_in_flight(
    tmp_path: Path, processes: int, workers: int, in_flight: int
) -> None:
    run = samples_run(
        tmp_path / "run", {"seconds": 0.002, "uneven": 7}, workers=workers, processes=processes, in_flight=in_flight
    )
    assert run_task(run).returncode == 0
    stored = content(run)
    assert numbers(run) == list(range(ROWS))
    tokens = sum(row % 4 for row in range(ROWS))
    assert last_end(run).counts == {"n": sum(range(ROWS)), "tokens": tokens}
    for row in (0, 3, ROWS - 1):
        rows, values, failed = stored[row]
        assert failed == ()
        assert np.frombuffer(rows["y"]).tolist() == [2.0 * row] * 3
        assert values["text"] == f"row {row}".encode()
        assert np.frombuffer(values["tokens"], "<i8").tolist() == list(range(row % 4))
        assert int(np.frombuffer(rows["seed"], "<i8")[0]) == sample_seed(0, row)
    told = last_end(run)
    assert told.load.samples == told.process.samples == told.both.samples == ROWS
    assert told.process.seconds >= 0.002 * ROWS


def test_the_longest_samples_are_begun_first_where_it_is_known_what_they_cost(tmp_path: Path) -> None:
    job, costs = "tests.example_jobs.sample_jobs:Waits", [float(row % 10) for row in range(ROWS)]
    run = make_run(tmp_path / "run", job, ROWS, batch_size=1, costs=costs, in_flight=2, workers=1, sync_interval=1000.0)
    assert run_task(run).returncode == 0
    assert numbers(run) == list(range(ROWS))
    (attempt,) = attempts(run)
    order = [
        commit.start
        for record in read_records(attempt.journal)
        if isinstance(record, Commits)
        for commit in record.commits
    ]
    # What is over within a fiftieth of all, 450 s in 2 places, may come at any time.
    long = sorted((row for row in range(ROWS) if row % 10 >= 5), key=lambda row: (-(row % 10), row))
    # These are told as they end: of two in flight the later one may be quicker.
    assert max(abs(order.index(row) - place) for place, row in enumerate(long)) <= 4


def test_samples_that_fail_fail_alone_each_by_its_own_time_out(tmp_path: Path) -> None:
    bad = {"3": "raise", "7": "load", "20": "hang", "21": "stubborn", "22": "stop"}
    run = samples_run(tmp_path / "run", {"bad": bad}, max_failed_samples=4, sample_timeout=0.5)
    assert run_task(run).returncode == 0
    kinds = {row: sample.kind for row, sample in failures(run).items()}
    assert kinds == {3: "PROCESS", 7: "LOAD", 20: "SAMPLE_TIMEOUT", 21: "SAMPLE_TIMEOUT"}
    assert len(numbers(run)) == ROWS - 4


@pytest.mark.parametrize(
    ("how", "kind"),
    [("abort in load", "CRASH"), pytest.param("block in load", "SAMPLE_TIMEOUT", marks=pytest.mark.thorough)],
)
def test_a_row_whose_load_ends_the_process_that_has_no_workers_fails_alone(tmp_path: Path, how: str, kind: str) -> None:
    settings = {"workers": 0, "max_failed_samples": 1, "sample_timeout": 1.0}
    run = samples_run(tmp_path / "run", {"bad": {"20": how}, "seconds": 0.05}, rows=40, **settings)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: kind}
    assert len(numbers(run)) == 39


def test_a_process_that_loads_itself_looks_at_the_clock_between_two_loads(tmp_path: Path) -> None:
    settings = {"workers": 0, "sample_timeout": 1.5, "in_flight": 16}
    run = samples_run(tmp_path / "run", {"load_seconds": 0.2, "seconds": 0.001}, rows=24, **settings)
    done = run_task(run)
    assert done.returncode == 0
    assert numbers(run) == list(range(24))
    assert "took longer" not in done.stdout


def test_a_sample_without_memory_is_tried_alone_before_it_fails(tmp_path: Path) -> None:
    bad = {"20": "needs much", "21": "needs all", "50": "needs much"}
    run = samples_run(tmp_path / "run", {"bad": bad, "seconds": 0.005}, max_failed_samples=1)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {21: "OUT_OF_MEMORY"}
    assert len(numbers(run)) == ROWS - 1


@pytest.mark.thorough
@pytest.mark.parametrize(("large", "failed", "setups"), [(None, {}, 2), (5, {5: "OUT_OF_MEMORY"}, 9)])
def test_samples_that_do_not_fit_together_are_done_with_half_as_many_in_flight(
    tmp_path: Path, large: int | None, failed: dict[int, str], setups: int
) -> None:
    count = tmp_path / "setups"
    params = {"megabytes": 110 if large is None else 1, "large": large, "setups": str(count)}
    settings = {"workers": 1, "memory": 700 << 20, "in_flight": 8, "max_failed_samples": 1}
    job = "tests.example_jobs.sample_jobs:Hungry"
    run = make_run(tmp_path / "run", job, 12, batch_size=1, params=params, **settings)
    done = run_task(run)
    assert done.returncode == 0, done.stdout
    assert re.search(r"going on with \d of \d samples in flight", done.stdout)
    assert {row: sample.kind for row, sample in failures(run).items()} == failed
    assert count.stat().st_size <= setups


def test_failures_between_good_samples_are_no_streak(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(0, 300, 3)}
    settings = {"max_failed_samples": 1.0}
    run = samples_run(tmp_path / "run", {"bad": bad}, rows=300, **settings)
    done = run_task(run)
    assert (done.returncode, len(failures(run))) == (0, 100)
    assert "one sample after another" not in done.stdout


def test_a_plan_of_batches_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "tests.example_jobs.sample_jobs:Waits", 8, batch_size=4)
    assert run_task(run).returncode == 1
    assert "takes samples one by one (process_sample): plan a new run" in last_end(run).message


@pytest.mark.thorough
def test_each_process_sees_its_own_gpus_and_nothing_else(tmp_path: Path) -> None:
    run = samples_run(tmp_path / "run", {"seconds": 0.005}, gpus_per_process=2)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,GPU-c,GPU-d"}
    assert run_task(run, env=environment).returncode == 0
    seen = {values["gpus"].decode() for _, values, _ in content(run).values()}
    assert seen == {"GPU-a,GPU-b: cuda:0 cuda:1", "GPU-c,GPU-d: cuda:0 cuda:1"}


def test_a_task_with_too_few_gpus_ends_in_good_order_and_says_so(tmp_path: Path) -> None:
    run = samples_run(tmp_path / "run", gpus_per_process=2, processes=2)
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1,2", "TMPDIR": str(tmp_path / "tmp")}
    assert run_task(run, env=environment).returncode == 1
    end = last_end(run)
    assert (end.end, end.kind) == (EndReason.FAILED, FailureKind.ERROR)
    assert "this task has 3 GPUs: it needs 4, for 2 processes" in end.message
    assert list((tmp_path / "tmp").glob("launcher-*")) == []


# --- broken processes


def test_a_sample_that_blocks_the_loop_or_aborts_its_process_is_found_among_those_in_flight(tmp_path: Path) -> None:
    run = samples_run(tmp_path / "run", {"bad": {"20": "abort"}, "seconds": 0.01}, in_flight=32, max_failed_samples=1)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: "CRASH"}
    run = samples_run(tmp_path / "blocked", {"bad": {"20": "block"}}, max_failed_samples=1, sample_timeout=0.5)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: "SAMPLE_TIMEOUT"}


def test_a_process_that_says_it_is_broken_is_replaced_and_nobody_is_blamed(tmp_path: Path) -> None:
    (tmp_path / "not there yet").touch()
    run = samples_run(tmp_path / "run", {"bad": {"20": "broken once"}, "marks": str(tmp_path), "seconds": 0.01})
    done = run_task(run)
    assert done.returncode == 0
    assert numbers(run) == list(range(ROWS))
    assert "is lost: setup: ProcessBroken: the engine is not there yet; starting another" in done.stdout
    assert "is lost: the engine has died; starting another" in done.stdout
    run = batches_run(tmp_path / "batches", dies=100, marks=str(tmp_path / "batches"), broken=True)
    assert run_task(run).returncode == 0
    assert results(run)["y"].tolist() == [2 * row for row in range(200)]
    assert last_end(run).counts == {"y": 2 * sum(range(200))}


def test_a_row_that_always_breaks_its_process_fails_alone(tmp_path: Path) -> None:
    run = samples_run(tmp_path / "run", {"bad": {"20": "broken"}, "seconds": 0.02}, in_flight=32, max_failed_samples=1)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: "CRASH"}
    assert len(numbers(run)) == ROWS - 1


def test_an_engine_that_died_behind_a_living_process_makes_no_sample_fail(tmp_path: Path) -> None:
    run = samples_run(tmp_path / "run", {"bad": {"20": "dies once"}, "marks": str(tmp_path), "seconds": 0.002})
    assert run_task(run).returncode == 0
    assert numbers(run) == list(range(ROWS))
    run = batches_run(tmp_path / "batches", dies=100, marks=str(tmp_path / "batches"))
    assert run_task(run).returncode == 0
    assert results(run)["y"].tolist() == [2 * row for row in range(200)]


def test_an_engine_that_hangs_behind_a_living_process_makes_no_sample_fail(tmp_path: Path) -> None:
    params = {"bad": {"20": "hangs once"}, "marks": str(tmp_path)}
    run = samples_run(tmp_path / "run", params, sample_timeout=0.5)
    assert run_task(run).returncode == 0
    assert numbers(run) == list(range(ROWS))


@pytest.mark.thorough
def test_an_engine_that_dies_again_is_no_complete_run_however_many_samples_may_fail(tmp_path: Path) -> None:
    run = samples_run(
        tmp_path / "run", {"bad": {"20": "dies"}, "seconds": 0.002}, max_failed_samples=1.0, max_same_failure=0.05
    )
    assert run_task(run).returncode == 1
    (given_up,) = last_end(run).given_up
    assert given_up.kind is FailureKind.ERROR
    assert "one reason, 20 may (node.max_same_failure)" in given_up.message
    assert "engine at" in given_up.message


def test_an_engine_that_stays_dead_ends_the_attempt_with_its_message(tmp_path: Path) -> None:
    run = samples_run(tmp_path / "run", {"bad": {"20": "stays dead"}, "marks": str(tmp_path)})
    done = run_task(run)
    assert done.returncode == 1
    # Each that cannot be set up is lost for the same reason, which is told at length once.
    assert (done.stderr.count("Traceback"), done.stderr.count(" does not start (the same as before)")) == (2, 4)
    end = last_end(run)
    assert (end.end, end.kind, end.failed) == (EndReason.FAILED, FailureKind.ERROR, 0)
    assert "the engine has died" in end.message


# --- signals


def test_a_task_that_has_to_leave_commits_every_finished_row_within_20_s(tmp_path: Path) -> None:
    hang = {str(row): "hang" for row in range(50, 54)}
    run = samples_run(tmp_path / "run", {"bad": hang, "seconds": 0.002}, sync_interval=1000.0)
    with running(run) as task:
        wait_until(lambda: written(run) == ROWS - len(hang))
        began = time.monotonic()
        task.send_signal(signal.SIGTERM)
        assert task.wait(PATIENCE) == 75
        assert time.monotonic() - began < 20
    assert sorted(done_rows(run).numbers) == [row for row in range(ROWS) if str(row) not in hang]


@pytest.mark.parametrize(
    "whom", ["process", *(pytest.param(whom, marks=pytest.mark.thorough) for whom in ("pool worker", "supervisor"))]
)
def test_a_kill_changes_no_bytes_and_each_row_is_stored_once(tmp_path: Path, whom: str) -> None:
    params = {"seconds": 0.02, "uneven": 5}
    reference = samples_run(tmp_path / "reference", params)
    assert run_task(reference).returncode == 0
    run = samples_run(tmp_path / "run", params)
    with running(run) as task:
        wait_until(lambda: written(run) >= 20)
        _kill(task, whom)
        if whom == "supervisor":
            task.wait(PATIENCE)
        else:
            assert task.wait(PATIENCE) == 0
    if whom == "supervisor":
        write_submission(run, number=2, in_flight=8)
        assert run_task(run, submission=2).returncode == 0
    assert is_done(run)
    assert numbers(run) == list(range(ROWS))
    assert content(run) == content(reference)
    assert len(commits(run)) == ROWS
    if whom != "supervisor":
        assert len(attempts(run)) == 1


@pytest.mark.thorough
def test_what_one_of_two_processes_had_when_it_died_is_done_once(tmp_path: Path) -> None:
    params = {"bad": {"20": "broken once", "60": "abort"}, "marks": str(tmp_path), "seconds": 0.01, "uneven": 5}
    run = samples_run(tmp_path / "run", params, processes=2, max_failed_samples=1)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {60: "CRASH"}
    assert len(commits(run)) == ROWS


def _kill(task: psutil.Process, whom: str) -> None:
    if whom == "supervisor":
        task.kill()
        return
    ours = [child for child in task.children(recursive=True) if not child.children()]
    # A process has the table of what is in flight, and is the oldest of those without children.
    process, *workers = sorted(ours, key=lambda child: child.pid)
    (process if whom == "process" else workers[0]).kill()
