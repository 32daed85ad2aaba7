"""A run that waits is submitted by whatever completes the one before it: after a retry, by a launcher, or told why not."""

from pathlib import Path

import pytest

from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.runs.downstream import how_it_waits
from launcher.status.reader import StatusReader
from tests.sites.test_login import INSIDE, stand_in
from tests.support.chains import run_in, write_rows, write_run
from tests.support.launcher_runs import document, launcher, newest
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]


def submit_both(toy: SlurmRun, **options: object) -> RunDir:
    """Submits the run and one whose samples it has; returns the second."""
    slurm = {"mem": "600M", **options}
    second = write_run(toy.folder, "second", {"run": "toy", "outputs": ["y"]}, executor="slurm", slurm=slurm)
    done = toy.launcher("submit", second.name, toy.config.name, "--json")
    assert done.returncode == 0, done.stderr
    assert [one["submission"] for one in document(done)["runs"]] == [1, None]
    return run_in(toy.folder, "second")


def is_complete(run: RunDir) -> bool:
    return StatusReader(run).read().state is RunState.COMPLETE


def test_after_a_retry_of_the_run_before_it(site: BringUp, tmp_path: Path) -> None:
    """The first submission ends without all rows, and its finalize job starts nothing but the second."""
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options={"tasks": 1})
    second = submit_both(toy)
    toy.await_commits(0)
    toy.supervisor(0).kill()
    toy.open_gate()
    toy.wait(lambda: toy.run.outcome(1).exists())
    assert not second.submission_numbers()
    toy.wait(lambda: is_complete(second))
    assert toy.run.submission_numbers() == [1, 2]


@pytest.mark.thorough
def test_by_a_launcher_in_the_place_of_a_finalize_job(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options={"tasks": 1, "finalize": "none"})
    second = submit_both(toy, finalize="none")
    toy.open_gate()
    assert toy.launcher("run", "toy").returncode == 0
    assert second.submission_numbers() == [1]
    assert toy.launcher("run", "second").returncode == 0
    assert is_complete(second)


@pytest.mark.thorough
def test_where_nodes_may_not_submit_it_is_told_and_left_to_a_person(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = site("no-accounting")
    refuse = 'echo "sbatch: error: Batch job submission failed: Access/permission denied" >&2; exit 1'
    stand_in(tmp_path, monkeypatch, f"{INSIDE}inside && {{ {refuse}; }}")
    toy = SlurmRun.gated(cluster, tmp_path, options={"tasks": 1})
    second = submit_both(toy)
    toy.open_gate()
    toy.wait(lambda: (found := how_it_waits(second, Plan.read(second.plan))) is not None and found.problem)
    assert is_complete(toy.run)
    said = toy.launcher("status", "second").stdout
    assert "could not be submitted: " in said
    assert "Access/permission denied" in said
    assert second.submission_numbers() == []
    assert toy.launcher("submit", "second").returncode == 0
    toy.wait(lambda: is_complete(second))


@pytest.mark.thorough
def test_where_slurm_takes_no_dependency_a_run_that_overlaps_begins_at_once(site: BringUp, tmp_path: Path) -> None:
    site("no-dependencies")
    slurm = {"mem": "600M", "tasks": 1, "finalize": "none"}
    write_run(tmp_path, "first", write_rows(tmp_path), executor="slurm", slurm={**slurm, "hold": True})
    before = {"run": "first", "outputs": ["label"], "failed": "keep", "overlap": True}
    write_run(tmp_path, "second", before, executor="slurm", slurm=slurm)
    done = launcher(tmp_path, "submit", "first.yaml", "second.yaml")
    assert done.returncode == 0, done.stderr
    second = newest(run_in(tmp_path, "second"))
    assert (len(second.job_ids), second.resources.begins_at_once) == (1, True)
    for name in ("second", "first"):
        assert launcher(tmp_path, "cancel", name).returncode == 0
