"""Limits of the accounting that sbatch does not refuse: they are told before an array waits for ever."""

from pathlib import Path

import pytest

from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]


@pytest.mark.thorough
def test_what_no_job_may_have_is_told_and_the_limit_of_jobs_is_that_of_the_qos(site: BringUp, tmp_path: Path) -> None:
    cluster = site("accounting")
    cluster.services.tell("add qos small MaxTRESPerJob=cpu=2,mem=1G MaxWall=10 MaxSubmitJobsPU=7")
    cluster.services.tell("modify user root where account=lab set qos+=small DefaultQOS=small MaxSubmitJobs=5")
    options = {"account": "lab", "tasks": 20, "cpus_per_task": 4, "time": 30, "mem": "2G", "hold": True}
    toy = SlurmRun(cluster, tmp_path, "Toy", rows=20, shards=20, options=options, node={"batch_size": 1})
    done = toy.launcher("submit", toy.config.name)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "would wait for ever" in line]
    assert all(any(amount in line for line in told) for amount in ("4 CPUs", "2.0G of memory", "30 min"))
    assert len(told) == 3
    assert toy.submission(1).tasks == 5  # of 7, one place is for the finalize job, one for its successor
