"""Stages that overlap, on a real Slurm: the second waits in the queue for the first to begin, and computes beside it."""

from pathlib import Path

import numpy as np
import pytest

from jobs.kinds import RunState
from launcher import results
from launcher.status.reader import StatusReader
from tests.example_jobs.gated_jobs import OPEN
from tests.launcher.submit.test_overlaps import GATED, ROWS, TAKE, taken
from tests.slurm_cluster import SlurmCluster
from tests.support.chains import run_in, write_rows, write_run
from tests.support.launcher_runs import launcher, newest, wait_until
from tests.support.slurm_runs import use_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


@pytest.fixture
def folder(clean_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_cluster(clean_slurm, monkeypatch)
    slurm = {"mem": "500M", "tasks": 1}
    write_run(tmp_path, "first", write_rows(tmp_path, ROWS), GATED, executor="slurm", slurm={**slurm, "hold": True})
    write_run(tmp_path, "second", taken("first"), TAKE, executor="slurm", slurm=slurm)
    return tmp_path


def test_the_second_begins_with_the_first_and_computes_beside_it(folder: Path, clean_slurm: SlurmCluster) -> None:
    first, second = run_in(folder, "first"), run_in(folder, "second")
    done = launcher(folder, "submit", "first.yaml", "second.yaml")
    assert done.returncode == 0, done.stderr
    (job,), (other,) = newest(first).job_ids, newest(second).job_ids
    assert f"#SBATCH --dependency=after:{job}_0\n" in second.script(1).read_text()
    clean_slurm.wait(
        lambda: "Dependency" in clean_slurm.run("squeue", "-h", "-j", other, "-o", "%r"), "the second waits"
    )
    clean_slurm.run("scontrol", "release", job)
    wait_until(lambda: StatusReader(second).read().ok == OPEN)
    assert StatusReader(first).read().state is RunState.RUNNING
    (folder / "go").touch()
    wait_until(lambda: StatusReader(second).read().state is RunState.COMPLETE)
    wait_until(lambda: StatusReader(first).read().state is RunState.COMPLETE)  # its end need not come first
    assert len(second.submission_numbers()) == 1
    with results.open(second.path) as found:
        np.testing.assert_array_equal(found["z"], 2 * np.arange(ROWS) + 1)


@pytest.mark.thorough
def test_a_first_that_is_cancelled_ends_the_second_and_its_rerun_starts_both(
    folder: Path, clean_slurm: SlurmCluster
) -> None:
    first, second = run_in(folder, "first"), run_in(folder, "second")
    launcher(folder, "submit", "first.yaml", "second.yaml")
    clean_slurm.run("scontrol", "release", newest(first).job_ids[0])
    wait_until(lambda: StatusReader(second).read().ok == OPEN)
    launcher(folder, "cancel", "first")
    wait_until(lambda: StatusReader(second).read().state is RunState.INCOMPLETE)
    assert "waits for first, which was cancelled" in launcher(folder, "status", "second").stdout
    (folder / "go").touch()
    launcher(folder, "rerun", "first")
    clean_slurm.run("scontrol", "release", newest(first).job_ids[0])
    wait_until(lambda: StatusReader(second).read().state is RunState.COMPLETE)
    assert second.submission_numbers() == [1, 2]
