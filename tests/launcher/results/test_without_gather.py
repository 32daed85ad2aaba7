"""output.gather: false: a run is complete when all of it is stored, and its result is read where it lies."""

import json
from pathlib import Path

import pytest

from jobs.errors import DamageError, IncompleteError
from jobs.gather.gather import gather
from jobs.gather.stored_check import check_stored
from jobs.storage.rundir import RunDir
from launcher import results
from launcher.status.complete import read_complete
from tests.support.builders import build_plan, build_run, damage_commit, find_blocks, write_shard
from tests.support.launcher_runs import launcher, write_config


def test_a_run_is_complete_without_a_result(tmp_path: Path) -> None:
    write_config(tmp_path, rows=40, output={"gather": False})
    run = RunDir(tmp_path / "runs" / "toy")

    done = launcher(tmp_path, "run", "config.yaml")
    assert done.returncode == 0, done.stderr
    assert f"result: in place ({run.attempts})" in done.stdout
    assert not run.result.exists()
    with results.open(run.path) as found:
        assert len(found) == 40
        assert found.complete
    assert read_complete(run) is not None
    status = json.loads(launcher(tmp_path, "status", "toy", "--json").stdout)
    assert (status["state"], status["in_place"]) == ("complete", True)
    verified = launcher(tmp_path, "verify", "toy")
    assert verified.returncode == 0
    assert "result: in place, as checked" in verified.stdout

    assert launcher(tmp_path, "run", "config.yaml").returncode == 0
    assert not run.result.exists()
    assert launcher(tmp_path, "gather", "toy").returncode == 0
    assert run.result.exists()
    assert "toy/result.h5" in launcher(tmp_path, "status", "toy").stdout


def test_a_job_that_folds_needs_gather(tmp_path: Path) -> None:
    write_config(tmp_path, job="tests.launcher.test_results:Summary", output={"gather": False})

    done = launcher(tmp_path, "plan", "config.yaml")
    assert done.returncode == 2
    assert "output.gather" in done.stderr
    assert "folds its results (reduce), which gather does: leave it true" in done.stderr


def test_what_gather_would_seal_is_sealed(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", failed=[3])
    assert check_stored(run) == gather(run).seals


def test_rows_that_are_not_there_are_missed(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16))
    write_shard(run, 0, batches=[8], done=False)
    with pytest.raises(IncompleteError, match="8 of 16 samples have no result yet"):
        check_stored(run)


@pytest.mark.parametrize("what", ["cut", "gone", "commit"])
def test_a_data_file_that_is_cut_or_gone_is_missed(tmp_path: Path, what: str) -> None:
    run = build_run(tmp_path / "run", (0, 16))
    path, block = find_blocks(run, 15, "vector")[-1]
    if what == "cut":
        with path.open("r+b") as file:
            file.truncate(block.offset)
    elif what == "gone":
        path.unlink()
    else:
        damage_commit(run, 15)
    with pytest.raises((DamageError, IncompleteError), match=r"launcher (verify|rerun)"):
        check_stored(run)
