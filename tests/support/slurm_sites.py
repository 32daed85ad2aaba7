"""Slurm as it is set up elsewhere: the kinds of sites that the tests bring up, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.slurm_conf import USUAL, Node, Site

_TWO = (Node(), Node())
_MIXED = (Node(1, 2000, 0), Node(2, 3000, 0), Node(4, 6000, 3))
_NO_DEPENDENCIES = """\
function slurm_job_submit(job, partitions, uid)
    if job.dependency ~= nil and job.dependency ~= "" then
        slurm.log_user("Job dependencies are not allowed on this cluster")
        return slurm.ERROR
    end
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
"""
_NODE_SCRIPT = """\
#!/bin/bash
name=$(basename "$0" .sh)
echo "print Welcome from $name: 12345 jobs"
echo "export SITE_SCRATCH=/tmp/from-$name"
until [ ! -e {directory}/$name-slow ] && [ ! -e {directory}/$name-slow.$SLURMD_NODENAME ]; do sleep 0.2; done
[ ! -e {directory}/$name-fails ] && [ ! -e {directory}/$name-fails.$SLURMD_NODENAME ]
"""
# What a site may change in every job: its name, its partition, its time; and it greets everybody.
_OWN_WAYS = """\
function slurm_job_submit(job, partitions, uid)
    slurm.log_user("Welcome, user " .. uid .. ": 12345 jobs are queued")
    job.name = "lab_" .. (job.name or "job")
    job.comment = "billed to the lab"
    if job.partition == nil then
        job.partition = "short"
    end
    if job.time_limit > 1 then
        job.time_limit = 1
    end
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
"""

SITES: Mapping[str, Site] = {
    "usual": USUAL,
    # Two nodes. The user has two accounts more: one without limits, one that allows three jobs at a time.
    "accounting": Site(
        _TWO,
        cgroup=False,
        commands=(
            "sacctmgr -i add account paid,debug",
            "sacctmgr -i add user root account=paid",
            "sacctmgr -i add user root account=debug MaxSubmitJobs=3",
        ),
    ),
    # No slurmdbd: sacct and sacctmgr have no answer.
    "no-accounting": Site(_TWO, accounting=False, cgroup=False),
    # The same, and the kernel ends what takes more memory than it asked for.
    "no-accounting-cgroup": Site(_TWO, accounting=False),
    # A partition that squeue does not show to ordinary users unless asked with --all.
    "hidden-partition": Site(
        _TWO, ("PartitionName=hidden Nodes=ALL Hidden=YES PriorityTier=1",), accounting=False, cgroup=False
    ),
    # Two clusters with one slurmdbd.
    "two-clusters": Site(_TWO, cgroup=False, others=("other",)),
    # slurm.conf does not name the nodes' memory; Slurm then takes them to have 1 MB.
    "no-node-memory": Site(
        (Node(memory=None),) * 2, ("SelectTypeParameters=CR_Core", "DefMemPerCPU="), accounting=False, cgroup=False
    ),
    # A partition takes only jobs that ask for a GPU.
    "gpu-only-partition": Site(
        _TWO,
        ("AccountingStorageTRES=gres/gpu", "PartitionName=gpu Nodes=ALL PriorityTier=1"),
        cgroup=False,
        commands=(
            "sacctmgr -i add qos gpu MinTRESPerJob=gres/gpu=1 Flags=DenyOnLimit",
            "scontrol update PartitionName=gpu QOS=gpu",
        ),
    ),
    # A plugin of the site refuses dependencies.
    "no-dependencies": Site(
        _TWO, ("JobSubmitPlugins=lua",), accounting=False, cgroup=False, files={"job_submit.lua": _NO_DEPENDENCIES}
    ),
    # A plugin of the site gives jobs other names, another partition and a minute.
    "own-ways": Site(
        _TWO,
        ("JobSubmitPlugins=lua", "PartitionName=short Nodes=ALL PriorityTier=1 MaxTime=1"),
        accounting=False,
        cgroup=False,
        files={"job_submit.lua": _OWN_WAYS},
    ),
    # Three minutes at most, and sbatch refuses what asks for more.
    "short-limit": Site(
        _TWO,
        ("EnforcePartLimits=ALL", "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=3:00"),
        accounting=False,
        cgroup=False,
    ),
    # Slurm itself ends jobs that it sees over their memory.
    "over-memory-kill": Site(_TWO, ("JobAcctGatherParams=OverMemoryKill",), accounting=False, cgroup=False),
    # Jobs that a higher partition needs the place of are cancelled, not requeued.
    "preempt-cancel": Site(
        _TWO,
        ("PreemptMode=CANCEL", "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=CANCEL"),
        accounting=False,
        cgroup=False,
    ),
    # They get their --signal first, and a while to leave.
    "preempt-warned": Site(
        _TWO,
        (
            "SlurmctldParameters=preempt_send_user_signal",
            "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60",
        ),
        accounting=False,
        cgroup=False,
    ),
    # They are suspended, and go on later.
    "preempt-suspend": Site(
        _TWO,
        ("PreemptMode=SUSPEND,GANG", "PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=SUSPEND"),
        accounting=False,
        cgroup=False,
    ),
    # A partition for each way to make room for `urgent`, after a warning and a while to leave; and one with a short default.
    "preemption": Site(
        _TWO,
        (
            "PreemptMode=SUSPEND,GANG",
            "SlurmctldParameters=preempt_send_user_signal",
            "PartitionName=cancelled Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=30",
            "PartitionName=requeued Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=30",
            "PartitionName=suspended Nodes=ALL PriorityTier=1 PreemptMode=SUSPEND",
            "PartitionName=short Nodes=ALL PriorityTier=1 PreemptMode=OFF DefaultTime=1 MaxTime=10",
        ),
        accounting=False,
        cgroup=False,
    ),
    # Scripts around jobs and tasks. What their nodes do is told by files in the site's folder: `prolog-fails`,
    # `prolog-fails.n1`, `epilog-fails` ..., `epilog-slow` (as long as it is there).
    "node-scripts": Site(
        _TWO,
        (
            "Prolog={directory}/prolog.sh",
            "Epilog={directory}/epilog.sh",
            "TaskProlog={directory}/task_prolog.sh",
            "TaskEpilog={directory}/task_epilog.sh",
        ),
        accounting=False,
        cgroup=False,
        files=dict.fromkeys(("prolog.sh", "epilog.sh", "task_prolog.sh", "task_epilog.sh"), _NODE_SCRIPT),
    ),
    # Nodes of different sizes, one of them without GPUs.
    "mixed-nodes": Site(_MIXED, accounting=False, cgroup=False),
    # The same, and each is always allocated whole.
    "whole-nodes": Site(
        _MIXED,
        ("PartitionName=main Nodes=ALL Default=YES PriorityTier=1 OverSubscribe=EXCLUSIVE",),
        accounting=False,
        cgroup=False,
    ),
}
