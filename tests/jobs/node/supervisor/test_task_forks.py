"""An array task whose Job forks, or raises what is no Exception: every sample is done once, and right, or fails alone."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.task_runs import failures, is_done, make_run, results, run_task

JOBS = "tests.example_jobs.forking_jobs"


@pytest.mark.parametrize(
    ("where", "workers"), [("load", 1), ("load", 0), ("collate", 1), ("process", 1), ("setup_worker", 1), ("setup", 0)]
)
def test_copies_that_a_job_forks_do_nothing_in_its_place(tmp_path: Path, where: str, workers: int) -> None:
    run = make_run(tmp_path, f"{JOBS}:Forks", 32, batch_size=8, params={"where": where}, workers=workers)
    task = run_task(run)
    assert task.returncode == 0, task.stdout + task.stderr
    assert results(run)["y"].tolist() == list(range(0, 64, 2))
    assert "ValueError: in the copy" in task.stderr
    assert "leave it by os._exit()" in task.stdout


@pytest.mark.parametrize(("where", "workers"), [("load", 1), ("process", 0)])
def test_what_is_no_exception_fails_its_sample_alone(tmp_path: Path, where: str, workers: int) -> None:
    run = make_run(
        tmp_path, f"{JOBS}:Panics", 16, params={"where": where}, workers=workers, batch_size=8, max_failed_samples=1.0
    )
    task = run_task(run)
    assert task.returncode == 0, task.stdout + task.stderr
    assert is_done(run)
    (sample,) = failures(run).values()
    assert (sample.row, sample.kind) == (5, where.upper())
    assert "Panic: called `Option::unwrap()`" in sample.message
    assert "starting another" not in task.stdout
    assert np.delete(results(run)["y"], 5).tolist() == [2 * row for row in range(16) if row != 5]
