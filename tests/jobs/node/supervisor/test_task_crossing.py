"""An array task: what its processes hand to each other is as it was, or fails alone."""

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from jobs.gather.gather import gather
from jobs.storage.rundir import RunDir
from tests.support.task_runs import failures, make_run, results, run_task

JOBS = "tests.example_jobs.crossing_jobs"


def run_of(tmp_path: Path, job: str, rows: int, **settings: Any) -> RunDir:
    settings = {"batch_size": 8, "max_failed_samples": 1.0, **settings}
    run = make_run(tmp_path / "run", f"{JOBS}:{job}", rows, **settings)
    task = run_task(run)
    assert task.returncode == 0, task.stdout + task.stderr
    return run


@pytest.mark.parametrize("kind", ["numpy", "bfloat16"])
def test_buffers_that_a_job_uses_again_are_as_they_were_when_it_returned_them(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torch")
    run = run_of(tmp_path, "Reuses", 160, params={"kind": kind}, workers=2)
    found = results(run)["y"].reshape(160, -1)
    assert (found == np.arange(160)[:, None]).all()


def test_what_a_job_keeps_of_a_batch_shows_where_batches_are_poisoned(tmp_path: Path) -> None:
    run = run_of(tmp_path, "Keeps", 32, workers=1, poison_batches=True)
    assert results(run)["changed"].astype(bool).all()


def test_what_a_job_keeps_stays_where_there_are_no_slots(tmp_path: Path) -> None:
    assert results(run_of(tmp_path, "Keeps", 32, workers=0, poison_batches=True))["kept"].astype(bool).all()


@pytest.mark.parametrize("where", ["worker", "process"])
def test_a_batch_for_which_there_are_no_addresses_is_done_in_parts(tmp_path: Path, where: str) -> None:
    run = run_of(tmp_path, "Short", 40, params={"where": where}, workers=1)
    assert failures(run) == {}
    found = results(run)
    assert found["y"].tolist() == list(range(40))
    assert set(found["seven"].tolist()) == {7}


@pytest.mark.parametrize("when", ["pickled", "unpickled"])
def test_an_item_that_cannot_cross_fails_alone(tmp_path: Path, when: str) -> None:
    run = run_of(tmp_path, "Explodes", 16, params={"when": when}, workers=2)
    assert {row: (sample.kind, sample.message[-4:]) for row, sample in failures(run).items()} == {5: ("LOAD", "gone")}


@pytest.mark.parametrize(("kind", "tasks"), [("list", 1), ("array", 2)])
def test_lists_that_are_empty_at_first_are_of_what_the_others_are(tmp_path: Path, kind: str, tasks: int) -> None:
    run = make_run(tmp_path, f"{JOBS}:Finds", 48, shards=2, batch_size=4, params={"kind": kind}, tasks=tasks)
    for index in range(tasks):
        assert run_task(run, index).returncode == 0
    gather(run)
    with h5py.File(run.result) as file:
        values, offsets = file["found/values"][:], file["found/offsets"][:]
    assert values.dtype == np.int64
    ends = [values[start:stop].tolist() for start, stop in itertools.pairwise(offsets)]
    assert ends == [list(range(row % 4)) if row >= 16 else [] for row in range(48)]


def test_where_all_lists_are_empty_so_is_the_result(tmp_path: Path) -> None:
    run = make_run(tmp_path, f"{JOBS}:Finds", 16, params={"kind": "list"})
    assert run_task(run).returncode == 0
    gather(run)
    with h5py.File(run.result) as file:
        assert (len(file["found/values"]), file["found/offsets"][:].tolist()) == (0, [0] * 17)


@pytest.mark.parametrize("how", ["closed", "closed descriptors", "None", "replaced"])
def test_a_job_may_do_to_stdout_what_it_likes(tmp_path: Path, how: str) -> None:
    run = run_of(tmp_path, "Mutes", 8, params={"how": how}, workers=1, batch_size=1)
    assert {row: sample.message for row, sample in failures(run).items()} == {5: "ValueError: row five"}
    gather(run)
    with h5py.File(run.result) as file:
        assert file["y"][:].tolist() == [0, 1, 2, 3, 4, 0, 6, 7]
