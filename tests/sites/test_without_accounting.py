"""Sites without slurmdbd: why array tasks ended is known all the same, also once the controller has forgotten them."""

import signal
from pathlib import Path

import pytest

from launcher.runs.submissions import Outcome
from tests.slurm_cluster import SlurmCluster
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun, result_data, undisturbed_data

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]

HOLDS = """\
import time
import numpy as np
from tests.example_jobs.toy_jobs import Toy


class Holds(Toy):
    def setup(self, context):
        self.held = np.ones(900 << 20, np.uint8)

    def process(self, batch):
        time.sleep(0.5)
        return super().process(batch)
"""


def kinds(toy: SlurmRun, number: int = 1) -> set[str]:
    """Why what the submission left is not done."""
    outcome = Outcome.read(toy.run, number)
    assert outcome
    return {failure.kind for failure in outcome.failures.values()}


def is_forgotten(cluster: SlurmCluster, job: str) -> bool:
    return job not in cluster.run("squeue", "--all", "--noheader", "--states=all", "--format=%F").split()


@pytest.mark.thorough
def test_what_slurm_kills_for_its_memory_gets_more(site: BringUp, tmp_path: Path) -> None:
    (tmp_path / "holds.py").write_text(HOLDS)
    # A bound of its own, which it believes: so it is Slurm that sees it over what it asked for.
    toy = SlurmRun(
        site("over-memory-kill"), tmp_path, "holds:Holds", rows=16, shards=1, retry={"memory_factor": 4},
        node={"workers": 0, "processes": 1, "memory": "4G"},
    )  # fmt: skip
    toy.submit()
    assert toy.end()["state"] == "complete"
    assert (kinds(toy), toy.asked(1, "mem"), toy.asked(2, "mem")) == ({"OUT_OF_MEMORY"}, "600M", "2400M")


def test_a_task_that_is_put_back_into_the_queue_goes_on(site: BringUp, tmp_path: Path) -> None:
    cluster = site("no-accounting")
    toy = SlurmRun.gated(cluster, tmp_path, options={"tasks": 1})
    array = toy.submit()
    toy.await_commits(0)
    cluster.run("scontrol", "requeue", f"{array}_0")
    toy.open_gate()
    toy.resume(f"{array}_0")
    assert toy.end()["state"] == "complete"
    assert toy.run.submission_numbers() == [1]
    assert result_data(toy.run) == undisturbed_data()


def test_a_supervisor_that_was_killed_is_told_by_the_controller(site: BringUp, tmp_path: Path) -> None:
    toy = SlurmRun.gated(site("no-accounting"), tmp_path, options={"tasks": 1})
    toy.submit()
    toy.await_commits(0)
    toy.supervisor(0).kill()
    toy.open_gate()
    assert toy.end()["state"] == "complete"
    assert kinds(toy) == {"CRASH"}


@pytest.mark.thorough
def test_a_cancelled_run_that_slurm_has_forgotten_stays_cancelled(site: BringUp, tmp_path: Path) -> None:
    cluster = site("no-accounting", "MinJobAge=2")
    toy = SlurmRun.gated(cluster, tmp_path, options={"tasks": 3, "array_parallelism": 2})
    array = toy.submit()
    finalize = str(toy.submission(1).finalize_id)
    toy.await_commits(0)
    cluster.run("scontrol", "hold", finalize)
    cluster.run("scancel", array)
    toy.wait(lambda: is_forgotten(cluster, array), 120)
    cluster.run("scontrol", "release", finalize)
    assert toy.end()["state"] == "failed"
    assert (kinds(toy), toy.run.submission_numbers()) == ({"CANCELLED"}, [1])


@pytest.mark.thorough
@pytest.mark.parametrize("forgotten", [False, True])
def test_a_frozen_task_that_slurm_ends_at_its_time_limit_gets_more_time(
    site: BringUp, tmp_path: Path, forgotten: bool
) -> None:
    cluster = site("no-accounting", f"MinJobAge={2 if forgotten else 300}")
    toy = SlurmRun.gated(cluster, tmp_path, options={"tasks": 1, "time": 1}, retry={"time_factor": 10})
    array = toy.submit()
    finalize = str(toy.submission(1).finalize_id)
    toy.wait(lambda: toy.attempts(0))
    toy.supervisor(0).send_signal(signal.SIGSTOP)
    cluster.run("scontrol", "hold", finalize)
    toy.wait(lambda: array not in cluster.run("squeue", "--noheader", "--format=%F").split(), 180)
    if forgotten:
        toy.wait(lambda: is_forgotten(cluster, array), 120)
    toy.open_gate()
    cluster.run("scontrol", "release", finalize)
    assert toy.end()["state"] == "complete"
    assert (kinds(toy) <= {"TIMEOUT"}, toy.run.submission_numbers()) == (True, [1, 2])
