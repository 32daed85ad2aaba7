"""Scripts that a site runs around jobs and tasks, and that fail, take long or print: prolog, epilog, TaskProlog."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import launcher.results
from tests.slurm_cluster import SlurmCluster
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun, result_data, undisturbed_data

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]

SITE = "node-scripts"
# A task has a node for itself.
WHOLE = {"cpus_per_task": 8, "tasks": 2}


@contextmanager
def such(cluster: SlurmCluster, *names: str) -> Iterator[None]:
    """While it is open, scripts of the site's nodes behave so: `prolog-fails.n1`, `epilog-slow.n1`."""
    files = [cluster.directory / name for name in names]
    for file in files:
        file.touch()
    try:
        yield
    finally:
        for file in files:
            file.unlink()


def assert_complete(toy: SlurmRun) -> None:
    assert toy.end()["state"] == "complete"
    assert (toy.closed_twice(), toy.run.submission_numbers()) == (0, [1])
    assert result_data(toy.run) == undisturbed_data()


def test_a_task_that_slurm_holds_for_the_prolog_of_a_node_is_not_waited_for(site: BringUp, tmp_path: Path) -> None:
    cluster = site(SITE)
    toy = SlurmRun.gated(cluster, tmp_path, options=WHOLE)
    with such(cluster, "prolog-fails.n1"):
        toy.submit()
        toy.wait(lambda: "held" in cluster.run("squeue", "--noheader", "--format=%r"))
        toy.open_gate()
        assert_complete(toy)


@pytest.mark.thorough
def test_tasks_that_a_task_prolog_ends_leave_their_work_to_others(site: BringUp, tmp_path: Path) -> None:
    cluster = site(SITE)
    toy = SlurmRun.gated(cluster, tmp_path, options={**WHOLE, "finalize": {"nodelist": "n2"}})
    with such(cluster, "task_prolog-fails.n1"):
        array = toy.submit()
        toy.wait(lambda: "FAILED" in cluster.job_states(array).values())
        toy.open_gate()
        assert_complete(toy)


@pytest.mark.thorough
def test_where_every_task_prolog_fails_that_is_told_once_slurm_is_asked(site: BringUp, tmp_path: Path) -> None:
    cluster = site(SITE)
    toy = SlurmRun(cluster, tmp_path, "Toy")
    with such(cluster, "task_prolog-fails"):
        toy.submit()
        toy.wait(lambda: not toy.queued())
        told = toy.launcher("status", toy.run.path, "--live").stdout
        assert "submission 1 ended without a word" in told
        assert "its log ends: slurmstepd-n1: error: TaskProlog failed status=1" in told
        assert "next: launcher rerun toy" in told
    toy.rerun()
    assert toy.end()["state"] == "complete"


@pytest.mark.thorough
def test_nodes_that_drain_after_all_is_stored_leave_the_result_to_be_gathered(site: BringUp, tmp_path: Path) -> None:
    cluster = site(SITE)
    toy = SlurmRun.gated(cluster, tmp_path, options=WHOLE)
    with such(cluster, "epilog-fails"):
        toy.submit()
        toy.wait(lambda: len(toy.attempts(0)) + len(toy.attempts(1)) == 2)
        toy.open_gate()
        toy.wait(lambda: cluster.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() == ["drained"] * 2)
    told = toy.launcher("status", toy.run.path, "--live").stdout
    assert "waiting for the job that writes the result" in told
    assert "nodes that it could use are down or reserved" in told
    assert toy.launcher("gather", toy.run.path).returncode == 0
    assert (
        toy.launcher("cancel", toy.run.path).returncode == 0
    )  # the job that waits for a node has nothing to do any more
    assert toy.status()["state"] == "complete"
    assert result_data(toy.run) == undisturbed_data()


@pytest.mark.thorough
def test_what_scripts_print_and_how_long_they_take_changes_nothing(site: BringUp, tmp_path: Path) -> None:
    cluster = site(SITE)
    job, params = "tests.example_jobs.placed_jobs:Variables", {"names": ["SITE_SCRATCH"]}
    toy = SlurmRun(cluster, tmp_path, job, params, rows=8, shards=2)
    with such(cluster, "prolog-slow"):
        toy.submit()
        toy.wait(lambda: "RUNNING" in cluster.run("squeue", "-h", "-o", "%T"))
        found = toy.status()
        assert (found["state"], found["failures"]) == ("running", [])
    assert toy.end()["state"] == "complete"
    with launcher.results.open(toy.run.result) as result:
        assert set(result["values"]) == {"/tmp/from-task_prolog"}


@pytest.mark.thorough
def test_an_epilog_that_hangs_keeps_nobody_from_cancelling_and_going_on(site: BringUp, tmp_path: Path) -> None:
    cluster = site(SITE)
    toy = SlurmRun.gated(
        cluster, tmp_path, options={**WHOLE, "tasks": 1, "nodelist": "n1", "finalize": {"nodelist": "n2"}}
    )
    with such(cluster, "epilog-slow.n1"):
        toy.submit()
        toy.await_commits(0)
        cancelled = toy.launcher("cancel", toy.run.path)
        assert (cancelled.returncode, toy.status()["state"]) == (0, "cancelled"), cancelled.stderr
        assert "COMPLETING" in cluster.run("squeue", "-h", "-o", "%T")
        toy.open_gate()
        toy.rerun("--set", "slurm.nodelist=n2")
        assert toy.end()["state"] == "complete"
    assert toy.closed_twice() == 0
    assert result_data(toy.run) == undisturbed_data()
