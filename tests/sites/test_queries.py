"""Jobs of a run are seen, and no others, however a site and its users have set Slurm's commands: no second copy of anything."""

from pathlib import Path

import pytest

from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import write_config
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun
from tests.support.users import COLLEAGUE, OWNER, launch_as, shared_folder

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]

__all__ = ["shared_folder"]


def entries(cluster: SlurmCluster) -> list[str]:
    """Names of all array elements and jobs that wait or run."""
    return cluster.run("squeue", "--all", "--array", "--noheader", "--format=%j").split()


def held(cluster: SlurmCluster, folder: Path, **options: object) -> SlurmRun:
    """A run that is submitted and waits."""
    toy = SlurmRun(cluster, folder, "Toy", options={"hold": True, **options})
    toy.submit()
    return toy


@pytest.mark.thorough
def test_jobs_in_a_hidden_partition_are_seen_by_their_user(site: BringUp, shared_folder: Path) -> None:
    cluster = site("hidden-partition")
    slurm = {"partition": "hidden", "hold": True, "mem": "300M"}
    config = write_config(shared_folder, executor="slurm", slurm=slurm)
    assert launch_as(OWNER, shared_folder, "submit", config.name).returncode == 0
    waiting = entries(cluster)
    assert len(waiting) == 5
    assert launch_as(OWNER, shared_folder, "rerun", "toy").returncode == 1
    assert entries(cluster) == waiting
    assert launch_as(OWNER, shared_folder, "cancel", "toy").returncode == 0
    assert entries(cluster) == []


def test_a_colleagues_commands_do_not_work_past_the_owners_jobs(site: BringUp, shared_folder: Path) -> None:
    cluster = site("no-accounting")
    config = write_config(shared_folder, executor="slurm", slurm={"hold": True, "mem": "300M"})
    assert launch_as(OWNER, shared_folder, "submit", config.name).returncode == 0
    waiting = entries(cluster)
    rerun = launch_as(COLLEAGUE, shared_folder, "rerun", "toy")
    assert (rerun.returncode, entries(cluster)) == (1, waiting), rerun.stderr
    cancel = launch_as(COLLEAGUE, shared_folder, "cancel", "toy")
    assert (cancel.returncode, entries(cluster)) == (1, waiting)
    assert f"are those of {OWNER}" in cancel.stderr
    assert "cancelled" not in launch_as(OWNER, shared_folder, "status", "toy").stdout


def test_a_local_run_is_running_for_everybody(shared_folder: Path) -> None:
    config = write_config(shared_folder, 40, params={"delay": 0.5}, executor="local")
    assert launch_as(OWNER, shared_folder, "submit", config.name).returncode == 0
    try:
        for user in (OWNER, COLLEAGUE):
            said = launch_as(user, shared_folder, "status", "toy").stdout
            assert "running" in said.splitlines()[0]
            assert "LOST" not in said
    finally:
        assert launch_as(OWNER, shared_folder, "cancel", "toy").returncode == 0


@pytest.mark.thorough
def test_what_users_set_for_their_own_eyes_hides_nothing(
    site: BringUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = site("no-accounting")
    toy = held(cluster, tmp_path)
    waiting = entries(cluster)
    for name, value in (("SQUEUE_STATES", "RUNNING"), ("SCANCEL_STATE", "RUNNING"), ("SCANCEL_INTERACTIVE", "1")):
        monkeypatch.setenv(name, value)
    assert toy.launcher("rerun", toy.run.path).returncode == 1
    assert entries(cluster) == waiting
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    assert entries(cluster) == []


@pytest.mark.thorough
def test_names_of_other_jobs_may_be_any_bytes(site: BringUp, tmp_path: Path) -> None:
    cluster = site("no-accounting")
    cluster.run("sbatch", "--hold", "--job-name", b"caf\xe9".decode(errors="surrogateescape"), "--wrap=true")
    toy = held(cluster, tmp_path)
    for command in (("status", "--live"), ("rerun",), ("cancel",)):
        done = toy.launcher(command[0], toy.run.path, *command[1:])
        assert done.returncode in (0, 1)
        assert "Traceback" not in done.stderr
    assert toy.queued() == []


def test_held_jobs_get_advice_and_are_not_called_running(site: BringUp, tmp_path: Path) -> None:
    cluster = site("node-scripts")
    (cluster.directory / "prolog-fails").touch()
    toy = SlurmRun(cluster, tmp_path, "Toy")
    toy.submit()
    try:
        toy.wait(lambda: "held" in cluster.run("squeue", "--noheader", "--format=%r"))
        assert "scontrol release" in toy.launcher("status", toy.run.path, "--live").stdout
        assert "running now" not in toy.launcher("rerun", toy.run.path).stderr
    finally:
        (cluster.directory / "prolog-fails").unlink()
