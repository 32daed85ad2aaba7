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
    lines = [line for line in done.stdout.splitlines() if "would wait for ever" in line]
    told = [line for line in lines if line.startswith("an array task")]
    assert all(any(amount in line for line in told) for amount in ("4 CPUs", "2.0G of memory", "30 min"))
    assert len(told) == 3
    told = [line for line in lines if line.startswith("the finalize job")]
    assert [amount in line for amount, line in zip(("2.0G of memory", "30 min"), told, strict=True)] == [True, True]
    assert toy.submission(1).tasks == 5  # of 7, one place is for the finalize job, one for its successor


@pytest.mark.thorough
def test_a_run_larger_than_its_share_goes_through_in_turns_with_as_many_tasks_as_run_at_once(
    site: BringUp, tmp_path: Path
) -> None:
    cluster = site("accounting")
    cluster.services.tell("modify account lab set GrpTRES=cpu=5 GrpTRESRunMins=cpu=90 GrpJobs=4")
    cluster.services.tell("modify user root where account=lab set MaxTRESMinsPerJob=cpu=60 MaxJobs=3")
    options = {"account": "lab", "time": 30}
    node = {"batch_size": 1, "processes": 1, "workers": 0}
    toy = SlurmRun(cluster, tmp_path, "Toy", rows=20, shards=20, options=options, node=node)
    assert "3 such array tasks run at a time at most" in toy.launcher("plan", toy.config.name).stdout
    toy.submit()
    assert toy.submission(1).tasks == 3  # the 90 CPU minutes are enough for no more
    assert toy.end()["state"] == "complete"
    toy = SlurmRun(cluster, tmp_path / "all", "Toy", rows=20, shards=20, options={**options, "tasks": 10}, node=node)
    toy.submit()
    assert toy.submission(1).tasks == 10  # as was asked for, however few run at a time
    assert toy.end()["state"] == "complete"


@pytest.mark.thorough
def test_what_no_share_has_room_for_is_told_before_it_waits_for_ever(site: BringUp, tmp_path: Path) -> None:
    cluster = site("accounting")
    cluster.services.tell("modify account lab set GrpTRESRunMins=cpu=10")
    cluster.services.tell("add qos small MaxTRESPerNode=cpu=3 MaxTRESMinsPerJob=mem=6000 MaxJobsPerUser=0")
    cluster.services.tell("modify user root where account=lab set qos+=small")
    options = {
        "account": "lab",
        "qos": "small",
        "time": 30,
        "cpus_per_task": 4,
        "mem": "600M",
        "hold": True,
        "tasks": 2,
    }
    toy = SlurmRun(cluster, tmp_path, "Toy", options=options)
    words = (
        "4 CPUs on a node, and its account or QOS lets a job have 3 CPUs on a node",
        "30 min with 4 CPUs, and its account or QOS lets a job with that have 2 min",
        "30 min with 600M of memory, and its account or QOS lets a job with that have 10 min",
        "a job, and its account or QOS lets none run (MaxJobs or GrpJobs is 0)",
    )
    for command in ("doctor", "plan", "submit"):
        said = " ".join(toy.launcher(command, toy.config.name).stdout.split())
        assert all(word in said for word in words), said
    assert toy.launcher("cancel", toy.run.path).returncode == 0


@pytest.mark.thorough
@pytest.mark.parametrize("limit", ["MaxTRESMinsPerJob=cpu=10", "MaxTRESPerJob=cpu=2", "MaxWall=5", "GrpTRES=cpu=2"])
def test_what_a_qos_denies_is_one_message_and_leaves_nothing(site: BringUp, tmp_path: Path, limit: str) -> None:
    cluster = site("accounting")
    cluster.services.tell(f"add qos strict {limit} Flags=DenyOnLimit")
    cluster.services.tell("modify user root where account=lab set qos+=strict")
    options = {
        "account": "lab",
        "qos": "strict",
        "time": 30,
        "cpus_per_task": 4,
        "finalize": {"qos": "normal", "time": 1},
    }
    toy = SlurmRun(cluster, tmp_path, "Toy", options=options)
    refused = toy.launcher("submit", toy.config.name)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr
    assert "Job violates accounting/QOS policy" in refused.stderr
    assert "trying again" not in refused.stderr
    assert (toy.queued(), toy.run.submission_numbers()) == ([], [])


@pytest.mark.thorough
def test_a_share_of_time_that_is_used_up_on_the_way_stops_the_run_until_there_is_more(
    site: BringUp, tmp_path: Path
) -> None:
    cluster = site("accounting", "PriorityType=priority/multifactor", "PriorityCalcPeriod=1")
    cluster.services.tell("modify account lab set GrpTRESMins=cpu=2")
    options = {"account": "lab", "time": 60, "cpus_per_task": 8, "tasks": 1}
    toy = SlurmRun.gated(cluster, tmp_path, options=options, retry={"attempts": 1})
    toy.submit()
    toy.await_commits(0)
    toy.wait(lambda: "Minutes" in toy.slurm.run("squeue", "-h", "-o", "%r"), 240)  # the array was ended, finalize waits
    toy.open_gate()
    told = toy.launcher("status", toy.run.path, "--live").stdout
    assert "the account's share of time is used up" in told
    cluster.services.tell("modify account lab set GrpTRESMins=cpu=-1")
    assert toy.end()["state"] == "complete"
    assert toy.submission(2).resources.attempt == 1  # it costs no attempt
    assert toy.closed_twice() == 0


@pytest.mark.thorough
def test_more_time_than_the_partition_ever_gives_is_told_and_found_in_the_queue(site: BringUp, tmp_path: Path) -> None:
    short = "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=5"
    toy = SlurmRun(site("no-accounting", "EnforcePartLimits=NO", short), tmp_path, "Toy", options={"time": 30})
    for command in ("doctor", "plan", "submit"):
        said = " ".join(toy.launcher(command, toy.config.name).stdout.split())
        assert "may never start: it asks for --time=0:30:00, and partition main gives 0:05:00" in said, said
    toy.wait(lambda: "PartitionTimeLimit" in toy.slurm.run("squeue", "-h", "-o", "%r"))
    told = toy.launcher("status", toy.run.path, "--live").stdout
    assert "it asks for more time than is allowed, and will never start" in told
    assert toy.launcher("cancel", toy.run.path).returncode == 0
    toy.rerun("--set", "slurm.time=5")
    assert toy.end()["state"] == "complete"
