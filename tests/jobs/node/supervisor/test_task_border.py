"""An array task whose Job closes what is not its own, or leaves a timer running: its sample fails alone, nothing else does."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.task_runs import failures, is_done, last_end, make_run, results, run_task

CLOSING = "tests.example_jobs.leaving_jobs:Closing"


@pytest.mark.parametrize(("where", "workers"), [("load", 1), ("load", 0), ("process", 1)])
def test_a_sample_at_which_a_job_closes_all_descriptors_fails_alone(tmp_path: Path, where: str, workers: int) -> None:
    folder = tmp_path / "opened"
    folder.mkdir()
    params = {"where": where, "folder": str(folder)}
    run = make_run(tmp_path, CLOSING, 16, batch_size=4, params=params, workers=workers, max_failed_samples=1)

    task = run_task(run)

    assert task.returncode == 0, task.stdout + task.stderr
    assert is_done(run)
    (sample,) = failures(run).values()
    assert (sample.row, sample.kind) == (5, "CRASH")
    assert sample.message.startswith("the Job closed file descriptors that are not its own")
    assert np.delete(results(run)["y"], 5).tolist() == [2 * row for row in range(16) if row != 5]
    assert {path.stat().st_size for path in folder.iterdir()} == {0}


def test_a_job_that_closes_all_descriptors_when_it_is_set_up_is_told_so(tmp_path: Path) -> None:
    params = {"where": "setup_worker", "folder": str(tmp_path)}
    run = make_run(tmp_path, CLOSING, 16, params=params, workers=1)

    assert run_task(run).returncode == 1
    assert "died 3 times in a row: the Job closed file descriptors that are not its own" in last_end(run).message


@pytest.mark.parametrize("where", ["setup_worker", "setup"])
def test_a_job_that_replaces_sockets_and_threads_is_told_so(tmp_path: Path, where: str) -> None:
    run = make_run(tmp_path, "tests.example_jobs.leaving_jobs:Patching", 16, params={"where": where}, workers=1)

    assert run_task(run).returncode == 1
    assert f"{where}: InputError: gevent replaces Python's sockets and threads here" in last_end(run).message


@pytest.mark.parametrize("where", ["load", "process"])
def test_a_timer_that_a_job_leaves_running_fails_no_other_sample(tmp_path: Path, where: str) -> None:
    params = {"where": where, "at": 2}
    run = make_run(
        tmp_path,
        "tests.example_jobs.leaving_jobs:Alarmed",
        5,
        batch_size=1,
        params=params,
        workers=1,
        max_failed_samples=1,
    )

    task = run_task(run)

    assert task.returncode == 0, task.stdout + task.stderr
    (sample,) = failures(run).values()
    assert (sample.row, sample.kind, sample.message) == (2, where.upper(), "TimeoutError: too slow")
    assert "starting another" not in task.stdout


def test_a_sample_that_waits_for_a_stopped_program_is_told_so(tmp_path: Path) -> None:
    job = "tests.example_jobs.leaving_jobs:Stopping"
    run = make_run(
        tmp_path, job, 8, batch_size=4, params={"at": 5}, workers=1, max_failed_samples=1, sample_timeout=0.5
    )

    task = run_task(run)

    assert task.returncode == 0, task.stdout + task.stderr
    (sample,) = failures(run).values()
    assert (sample.row, sample.kind) == (5, "SAMPLE_TIMEOUT")
    assert sample.message.startswith(
        "took longer than sample_timeout (0.5 s); it, or a program that it has started, was stopped"
    )
