"""Several clusters with one slurmdbd: what a run has on another one is asked for there, and goes on there."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from launcher.runs.submissions import update
from launcher.slurm.parsers import JobId
from tests.slurm_cluster import SlurmCluster
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun, result_data, undisturbed_data

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]


def entries(cluster: SlurmCluster, name: str) -> set[str]:
    """Ids of the jobs that wait or run there."""
    return set(cluster.run("squeue", f"--clusters={name}", "--noheader", "--format=%F").split())


def elsewhere(cluster: SlurmCluster, folder: Path, clusters: str | None = "other", **options: Any) -> SlurmRun:
    options |= {"clusters": clusters} if clusters else {}
    return SlurmRun(cluster, folder, "Toy", node={"workers": 0, "processes": 1}, options=options)


@pytest.fixture
def clusters(site: BringUp) -> SlurmCluster:
    return site("two-clusters")


def test_jobs_on_another_cluster_are_seen_and_cancelled_there_alone(clusters: SlurmCluster, tmp_path: Path) -> None:
    clusters.run("sbatch", "--hold", "--output=/dev/null", "--wrap=true")
    here = entries(clusters, "test")
    toy = elsewhere(clusters, tmp_path, hold=True)
    toy.submit()
    there = {toy.array(1), toy.submission(1).finalize_id}
    assert (entries(clusters, "other"), entries(clusters, "test")) == (there, here)
    assert toy.submission(1).cluster == "other"
    assert toy.launcher("rerun", toy.run.path).returncode == 1
    assert "PENDING (JobHeldUser)" in toy.launcher("status", toy.run.path, "--live").stdout
    assert entries(clusters, "other") == there
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    assert (entries(clusters, "other"), entries(clusters, "test")) == (set(), here)


@pytest.mark.thorough
def test_what_follows_stays_on_the_cluster_that_slurm_has_chosen(clusters: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(clusters, tmp_path, options={"tasks": 1, "clusters": "test,other"})
    toy.submit()
    toy.await_commits(0)
    toy.supervisor(0).kill()
    toy.open_gate()
    assert toy.end()["state"] == "complete"
    chosen = toy.submission(1).cluster
    assert chosen in ("test", "other")
    assert toy.submission(2).cluster == chosen
    assert result_data(toy.run) == undisturbed_data()


@pytest.mark.thorough
def test_users_clusters_in_the_environment_are_where_it_goes(
    clusters: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CLUSTERS", "other")
    toy = elsewhere(clusters, tmp_path, None, hold=True)
    toy.submit()
    monkeypatch.delenv("SLURM_CLUSTERS")
    assert (toy.submission(1).cluster, toy.array(1) in entries(clusters, "other")) == ("other", True)
    monkeypatch.setenv("SLURM_CLUSTERS", "test")  # of a later shell: the run stays where it is
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    assert entries(clusters, "other") == set()


@pytest.mark.thorough
def test_what_a_killed_launcher_has_not_recorded_is_found_on_the_clusters_that_were_asked(
    clusters: SlurmCluster, tmp_path: Path
) -> None:
    toy = elsewhere(clusters, tmp_path, "test,other", hold=True)
    toy.submit()
    known = toy.submission(1)
    clusters.run("scancel", f"--clusters={known.cluster}", str(known.finalize_id))
    update(toy.run, known, job_ids=(), finalize_id=None, cluster=None)
    again = toy.launcher("submit", toy.run.path)
    assert (again.returncode, "waits or runs already" in again.stderr) == (1, True)
    found = toy.submission(1)
    assert (found.job_ids, found.cluster) == (known.job_ids, known.cluster)
    assert found.finalize_id in entries(clusters, str(known.cluster))


def test_a_cluster_that_nobody_knows_is_bad_input(clusters: SlurmCluster, tmp_path: Path) -> None:
    refused = elsewhere(clusters, tmp_path, "nowhere").launcher("submit", "config.yaml")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "slurm.clusters (SBATCH_CLUSTERS, SLURM_CLUSTERS): scontrol --clusters=nowhere" in refused.stderr


@pytest.fixture
def federation(site: BringUp) -> SlurmCluster:
    """Two clusters that share their jobs, of which this one has room for a finalize job at most."""
    cluster = site("two-clusters")
    cluster.services.tell("add federation fed clusters=test,other")
    cluster.wait(lambda: "Synced:Yes" in cluster.run("scontrol", "show", "federation"), "a federation")
    return cluster


def fill(cluster: SlurmCluster) -> str:
    """A job that has all of this cluster, so that the other one takes what may go there."""
    options = ("--clusters=test", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 600")
    job = cluster.run("sbatch", "--parsable", *options).partition(";")[0]
    cluster.wait(lambda: "R" in cluster.run("squeue", "-h", "-j", job, "-o", "%t"), "a full cluster")
    return job


@pytest.mark.thorough
def test_what_follows_a_job_of_a_federation_stays_on_its_cluster(federation: SlurmCluster, tmp_path: Path) -> None:
    toy = SlurmRun.gated(federation, tmp_path, options={"tasks": 1})
    assert JobId(toy.submit()).is_federated
    toy.await_commits(0)
    toy.supervisor(0).kill()
    toy.open_gate()
    toy.wait(lambda: 2 in toy.run.submission_numbers() and toy.submission(2).finalize_id)
    assert toy.end()["state"] == "complete"
    assert [toy.submission(number).cluster for number in (1, 2)] == ["test", "test"]
    for number in (1, 2):  # the second one is submitted by a job of that cluster
        assert "#SBATCH --clusters=test\n" in toy.run.finalize_script(number).read_text()
    assert entries(federation, "other") == set()


@pytest.mark.thorough
@pytest.mark.parametrize("arrays", [True, False])
def test_jobs_of_a_full_cluster_of_a_federation_are_seen_and_cancelled_and_run_once(
    federation: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: bool
) -> None:
    if not arrays:
        refuse_arrays(tmp_path, monkeypatch)
    full = fill(federation)
    toy = elsewhere(federation, tmp_path, None, tasks=2)
    toy.submit()
    own = {*toy.submission(1).job_ids, toy.submission(1).finalize_id}
    assert (len(own), all(JobId(str(job)).is_federated for job in own)) == (2 if arrays else 3, True)
    assert (entries(federation, "test"), entries(federation, "other")) == ({*own, full}, set())
    assert toy.launcher("rerun", toy.run.path).returncode == 1
    assert "PENDING (" in toy.launcher("status", toy.run.path, "--live").stdout
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    assert entries(federation, "test") == {full}
    federation.run("scancel", "--clusters=test", full)
    toy.rerun()
    assert (toy.end()["state"], toy.closed_twice()) == ("complete", 0)
    assert toy.submission(2).cluster == "test"


def refuse_arrays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in the place of sbatch that takes no arrays."""
    program = folder / "bin" / "sbatch"
    program.parent.mkdir()
    refuse = 'echo "sbatch: error: no job arrays here" >&2; exit 1'
    is_array = 'grep -qse "^#SBATCH --array" -- "$@" || [[ "$*" == *--array* ]]'
    program.write_text(f'#!/bin/bash\nif {is_array}; then {refuse}; fi\nexec {shutil.which("sbatch")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
