"""Answers of Slurm 20.11 to 25.11 to the questions that are asked: each means the same.

Those of 22.05 are recorded; the others are as the formats in src/scontrol, src/sacct, src/squeue and src/sinfo write them
(scontrol's in src/api/job_info.c until 24.05).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.retry.policy import Allocation
from launcher.slurm import scheduler
from launcher.slurm.accounting import allocation, has_ended, judge
from launcher.slurm.capacity import read_nodes, tasks_at_once
from launcher.slurm.examination import Answers
from launcher.slurm.limits import forget, heeds_limits, limits_for
from launcher.slurm.parsers import (
    Accounted,
    JobId,
    elements,
    read_accounting,
    read_job_id,
    read_jobs,
)
from launcher.slurm.scheduler import QueueEntry

# --- scontrol --oneliner show job

SHOW_JOB = {
    "20.11": "JobId=5789201 ArrayJobId=5789200 ArrayTaskId=0 ArrayTaskThrottle=4 JobName=run-1a2b3c4d.1 UserId=u(1000) "
    "GroupId=u(1000) MCS_label=N/A Priority=4294901759 Nice=0 Account=lab QOS=normal JobState=TIMEOUT Reason=TimeLimit "
    "Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:15 RunTime=00:01:02 TimeLimit=00:01:00 "
    "TimeMin=N/A SubmitTime=2026-11-28T21:12:20 EligibleTime=2026-11-28T21:12:20 StartTime=Unknown Partition=cpu "
    "AllocNode:Sid=login:77 ReqNodeList=(null) ExcNodeList=(null) NodeList=n1 BatchHost=n1 NumNodes=1 NumCPUs=2 NumTasks=1 "
    "CPUs/Task=2 ReqB:S:C:T=0:0:*:* TRES=cpu=2,mem=200M,node=1,billing=2 Socks/Node=* NtasksPerN:B:S:C=0:0:*:* CoreSpec=* "
    "MinCPUsNode=2 MinMemoryCPU=100M MinTmpDiskNode=0 Features=(null) DelayBoot=00:00:00 OverSubscribe=OK Contiguous=0 "
    "Licenses=(null) Network=(null) Command=/home/u/a JobState=COMPLETED/0001.sbatch WorkDir=/home/u StdIn=/dev/null "
    "StdOut=/home/u/log Power= NtasksPerTRES:0",
    "22.05": "JobId=5789201 ArrayJobId=5789200 ArrayTaskId=0 ArrayTaskThrottle=4 JobName=run-1a2b3c4d.1 UserId=root(0) "
    "GroupId=root(0) MCS_label=N/A Priority=4294901759 Nice=0 Account=(null) QOS=(null) JobState=TIMEOUT Reason=TimeLimit "
    "Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:15 RunTime=00:01:02 TimeLimit=00:01:00 "
    "NodeList=n1 BatchHost=n1 NumNodes=1 NumCPUs=2 NumTasks=1 CPUs/Task=2 TRES=cpu=2,mem=200M,node=1,billing=2 "
    "MinCPUsNode=2 MinMemoryCPU=100M MinTmpDiskNode=0",
    "25.11": "JobId=5789201 ArrayJobId=5789200 ArrayTaskId=0 ArrayTaskThrottle=4 JobName=run-1a2b3c4d.1 SLUID=s1234567 "
    "UserId=u(1000) GroupId=u(1000) MCS_label=N/A Priority=1 Nice=0 Account=lab QOS=normal JobState=TIMEOUT "
    "Reason=TimeLimit Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:15 RunTime=00:01:02 "
    "TimeLimit=00:01:00 NodeList=n1 BatchHost=n1 StepMgrEnabled=Yes NumNodes=1 NumCPUs=2 NumTasks=1 CPUs/Task=2 "
    "ReqTRES=cpu=2,mem=200M,node=1,billing=2 AllocTRES=cpu=2,mem=200M,node=1,billing=2 MinCPUsNode=2 MinMemoryCPU=100M "
    "MinTmpDiskNode=0 SubmitLine=sbatch --parsable /home/u/TimeLimit=1/0001.sbatch",
}


@pytest.mark.parametrize("version", SHOW_JOB)
def test_scontrol_tells_of_an_element(version: str) -> None:
    (row,) = read_jobs(SHOW_JOB[version])
    assert row == Accounted("5789200", 0, "TIMEOUT", "0:15", "n1", 0, "100Mc", "00:01:00", 2)
    assert allocation(row) == Allocation("n1", 200 << 20, 60)


@pytest.mark.parametrize(("limit", "seconds"), [("UNLIMITED", None), ("Partition_Limit", None), ("1-02:03:04", 93_784)])
@pytest.mark.parametrize("nodes", ["(null)", "", "None assigned"])
def test_an_element_that_never_had_a_node_has_none(limit: str, seconds: int | None, nodes: str) -> None:
    line = f"JobId=7 ArrayJobId=7 ArrayTaskId=1,3-5%2 JobState=PENDING TimeLimit={limit} ReqNodeList=n9 NodeList={nodes.split()[0] if nodes else ''} NumCPUs=2-4 MinMemoryNode=4G"  # noqa: E501
    rows = list(read_jobs(line))
    assert [row.index for row in rows] == [1, 3, 4, 5]
    assert {allocation(row) for row in rows} == {Allocation(None, 4 << 30, seconds)}
    assert " on " not in judge(rows[0], 0, began=False, words="").message


# --- sacct


@pytest.mark.parametrize(
    ("asked", "cpus", "size"),
    [
        ("100Mc", 4, 400 << 20), ("4Gn", 4, 4 << 30), ("400M", 4, 400 << 20), ("1.50G", 1, 3 << 29), ("0n", 1, None),
        ("0", 1, None), ("?", 1, None), ("16E", 1, None), ("", 1, None),
    ],
)  # fmt: skip
def test_memory_that_was_asked_for_is_of_the_whole_element(asked: str, cpus: int, size: int | None) -> None:
    (row,) = read_accounting(f"12_0|FAILED|1:0|n1||{asked}|Partition_Limit|{cpus}\n")
    assert (allocation(row).memory or None, allocation(row).time) == (size, None)


def test_steps_het_jobs_and_lists_that_were_cut_short_are_told_apart() -> None:
    text = (
        "12_0|COMPLETED|0:0|n1||1G|01:00:00|1\n12_0.batch|COMPLETED|0:0|n1|100K||| 1\n12_0.extern|COMPLETED|0:0|n1|2M|||1\n"
        "12_0.0|COMPLETED|0:0|n1|3072.50K|||1\n12_[1,3-4,...]|CANCELLED by 1000|0:0|None assigned||1G|01:00:00|1\n"
        "13+0|FAILED|1:0|n1||1G|01:00:00|1\n13+1.batch|FAILED|1:0|n1||1G||1\n69245668_2|OUT_OF_MEMORY|0:125|n1||1G|1|1\n"
    )
    found = {(row.job_id, row.index): row for row in read_accounting(text)}
    assert {key: row.state for key, row in found.items()} == {
        ("12", 0): "COMPLETED", ("12", 1): "CANCELLED", ("12", 3): "CANCELLED", ("12", 4): "CANCELLED",
        ("69245668", 2): "OUT_OF_MEMORY",
    }  # fmt: skip
    assert found["12", 0].memory == round(3072.5 * 1024)


STATES = """PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY
COMPLETING CONFIGURING EXPEDITING RESIZING REQUEUED REQUEUED_CRON REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT STAGE_OUT STOPPED
REVOKED RESV_DEL_HOLD SIGNALING"""
ENDS = {
    "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY",
    "REVOKED",
}  # fmt: skip


@pytest.mark.parametrize("state", STATES.split())
def test_every_state_is_an_end_or_none(state: str) -> None:
    assert has_ended(Accounted("12", 0, state, "0:0", "n1", 0, "1G", "10")) == (state in ENDS)


# --- squeue, sbatch, sinfo, sacctmgr


@pytest.mark.parametrize(
    ("indices", "count"), [("N/A", 1), ("7", 1), ("0-9", 10), ("1,3-5%4", 4), ("0-20:2%3", 11), ("1-3,7,...", 4)]
)
def test_an_entry_of_the_queue_stands_for_so_many_elements(indices: str, count: int) -> None:
    assert QueueEntry(JobId("12"), indices, "PENDING", "Priority", "name").elements == count


def test_no_list_of_indices_takes_all_memory() -> None:
    assert elements("0-999999999") == []


@pytest.mark.parametrize("text", ["123;other\n", "sbatch: lua: hello\n123;other\n"])
def test_sbatch_names_the_cluster_that_it_has_chosen(text: str) -> None:
    assert read_job_id(text) == JobId("123", "other")


def test_a_federations_numbers_are_told_from_a_clusters_own() -> None:
    assert [JobId(number).is_federated for number in ("67108863", "67108864", "69245668")] == [False, True, True]


USABLE = "idle mixed allocated completing planned reserved idle~ idle# mixed- allocated+ idle% idle$ mixed@ idle^ idle! reboot"
OTHERS = "down down* idle* drained draining fail maint unknown future inval perfctrs power_down drained~ mixed*"


def test_sinfo_tells_which_nodes_run_jobs() -> None:
    rows = "".join(f"cpu*|2|8|(null)|{state}|6000|NO|n/a|infinite\n" for state in [*USABLE.split(), *OTHERS.split()])
    assert tasks_at_once(read_nodes(rows), None, 4, 0, whole_nodes=False) == 4 * len(USABLE.split())
    kinds = ["gpu:a100:8(S:0-1)", "gpu:8", "gpu:1g.5gb:4,gpu:2g.10gb:4,shard:64"]
    rows = "".join(f"gpu|1|64|{kind}|idle|6000|NO|n/a|infinite\n" for kind in kinds)
    assert tasks_at_once(read_nodes(rows), "gpu", 1, 4, whole_nodes=False) == 6


# --- scontrol show config, partition, federation

CONFIG = """\
Configuration data as of 2026-11-28T21:12:20
AccountingStorageEnforce = associations,limits,qos{more}
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = lab
KillWait                = 30 sec
MaxArraySize            = 501
MaxJobCount             = 20000
MinJobAge               = 300 sec
OverTimeLimit           = 0 min
PrivateData             = {private}
SchedulerParameters     = max_array_tasks=400,bf_interval=30
SLURM_VERSION           = {version}
TaskPlugin              = {plugins}

Cgroup Support Configuration:
ConstrainRAMSpace{equals}yes

Slurmctld(primary) at head is UP
"""
CONFIGS = {
    "20.11": CONFIG.format(more="", private="none", version="20.11.9", plugins="affinity,cgroup", equals="       = "),
    "22.05": CONFIG.format(more=",safe", private="jobs,usage", version="22.05.8", plugins="task/cgroup", equals=" = "),
    "25.11": CONFIG.format(more=",safe", private="jobs,users", version="25.11.1", plugins="task/cgroup", equals=" = "),
}


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """An scontrol that says this, and no other command of Slurm that says anything."""

    def says(text: str) -> None:
        (tmp_path / "text").write_text(text)
        for name, body in (("scontrol", f"cat {tmp_path}/text"), ("sinfo", "true"), ("sacctmgr", "true")):
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        forget()

    yield says
    forget()


@pytest.mark.parametrize("version", CONFIGS)
def test_scontrol_tells_how_a_cluster_is_set_up(scontrol: Callable[[str], None], version: str) -> None:
    scontrol(CONFIGS[version])
    limits = limits_for({})
    assert (limits.array_size, limits.job_count, scheduler.cluster_name()) == (400, 20000, "lab")
    assert scheduler.hides_jobs() == (version != "20.11")
    values = Answers({"config": CONFIGS[version]}, {}).values
    assert heeds_limits(values["AccountingStorageEnforce"])
    assert values["SLURM_VERSION"].startswith(version)
    assert (values["KillWait"], values["MinJobAge"], values["OverTimeLimit"]) == ("30 sec", "300 sec", "0 min")
    assert ("cgroup" in values["TaskPlugin"], values["ConstrainRAMSpace"]) == (True, "yes")


PARTITION = (
    "PartitionName={name} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes={nodes} Default={default} {qos}=N/A "
    "DefaultTime={time} DisableRootJobs=NO ExclusiveUser=NO {new}GraceTime=30 Hidden=NO MaxNodes=UNLIMITED MaxTime=1-00:00:00 "
    "MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes=n[1-2] PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO "
    "OverSubscribe=EXCLUSIVE OverTimeLimit=NONE PreemptMode=REQUEUE State=UP TotalCPUs=16 TotalNodes=2 "
    "SelectTypeParameters=NONE JobDefaults=(null) DefMemPerCPU=512 MaxMemPerNode=UNLIMITED"
)


@pytest.mark.parametrize("new", ["", "ExclusiveTopo=NO ", "MaxCPUsPerSocket=UNLIMITED TRES=cpu=16,mem=12000M "])
def test_scontrol_tells_of_partitions(new: str) -> None:
    row = PARTITION.format(name="long", nodes="ALL", default="YES", qos="QoS", time="NONE", new=new)
    other = PARTITION.format(name="login", nodes="head", default="NO", qos="QoS", time="01:00:00", new=new)
    long, login = Answers({"partitions": f"welcome\n{row}\n{other}\n"}, {}).partitions
    assert (long["PartitionName"], long["Default"], long["State"], long["AllocNodes"]) == ("long", "YES", "UP", "ALL")
    assert (long["MaxTime"], long["PreemptMode"], long["GraceTime"]) == ("1-00:00:00", "REQUEUE", "30")
    assert (long["OverSubscribe"], long["DefMemPerCPU"]) == ("EXCLUSIVE", "512")
    assert (login["DefaultTime"], login["AllocNodes"], login["Default"]) == ("01:00:00", "head", "NO")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\nFederation: fed\nSelf:       lab:10.0.0.1:6817 ID:1 FedState:ACTIVE Features:\n"
         "Sibling:    other:10.0.0.2:6817 ID:2 FedState:ACTIVE Features: PersistConnSend/Recv:Yes/Yes Synced:Yes\n", "lab"),
        ("", None),
        ("There is no federation\n", None),
    ],
)  # fmt: skip
def test_scontrol_tells_of_a_federation(scontrol: Callable[[str], None], text: str, name: str | None) -> None:
    scontrol(text)
    assert scheduler.federated_name() == name
