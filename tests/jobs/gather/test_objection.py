"""Where a result may be: nothing is lost that somebody else has there, and what cannot be is told when the run is planned."""

import os
from pathlib import Path

import h5py
import pytest

from jobs.errors import RunError
from jobs.gather.gather import gather
from jobs.gather.objection import objection
from jobs.storage.rundir import RunDir
from tests.support.builders import build_plan
from tests.support.launcher_runs import launcher, write_config


def write_theirs(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["precious"] = [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("theirs.h5", "is no result"),
        ("theirs.txt", "is no result"),
        ("pipe.h5", "a device or a pipe"),
        ("folder.h5", "is a folder"),
        ("link-to-device.h5", "a device or a pipe"),
        ("run/plan.json", "of the run itself"),
        ("run/attempts/result.h5", "of the run itself"),
    ],
)
def test_a_place_that_is_not_for_a_result_is_refused_and_left_as_it_is(tmp_path: Path, name: str, told: str) -> None:
    run = build_plan(tmp_path / "run", [0, 8])
    write_theirs(tmp_path / "theirs.h5")
    (tmp_path / "theirs.txt").write_text("notes")
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "link-to-device.h5").symlink_to(os.devnull)
    before = {path: path.read_bytes() for path in (tmp_path / "theirs.h5", run.plan)}
    assert told in str(objection(tmp_path / name, run))
    with pytest.raises(RunError, match=told):
        gather(run, output=tmp_path / name, allow_missing=True)
    assert {path: path.read_bytes() for path in before} == before


def test_results_are_replaced_also_damaged_ones_and_those_of_older_versions(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert objection(tmp_path / "new.h5", run) is None
    assert objection(run.result, run) is None
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["complete"] = True
        file["status"] = [1]
    assert objection(tmp_path / "old.h5", run) is None
    run.path.mkdir()
    run.result.write_bytes(b"damaged")
    assert objection(run.result, run) is None


def test_a_folder_of_the_run_is_no_place_for_a_new_result_and_stays_that_of_an_older_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert objection(run.path / "results/x.h5", run) is None
    assert "of the run itself" in str(objection(run.path / "results/x.h5", run, is_new=True))
    assert objection(run.result, run, is_new=True) is None


@pytest.mark.parametrize("output", ["theirs.h5", "pipe.h5", "/dev/null", "runs/toy/plan.json", "/proc/x.h5"])
def test_plan_refuses_it_before_anything_is_computed(tmp_path: Path, output: str) -> None:
    config = write_config(tmp_path, rows=8, shards=1, output={"path": output})
    write_theirs(tmp_path / "theirs.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    done = launcher(tmp_path, "plan", config)
    assert done.returncode == 2
    assert "config.yaml:1: output.path: " in done.stderr
    assert not (tmp_path / "runs/toy/plan.json").exists()
