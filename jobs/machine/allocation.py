"""Allocation: what a scheduler gave to this process: CPUs, memory, an array index, a rank. Read from its environment, Slurm's.

The only module of jobs that reads a scheduler's variables; what a task asks of Slurm is in node/supervisor/slurm_job.py.
Outside a scheduler's job there is none.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_Environment = Mapping[str, str]

# What users set for their own eyes: SQUEUE_STATES=RUNNING would hide from us what waits, and it would be submitted twice;
# SCANCEL_INTERACTIVE would ask somebody who is not there.
USERS_OWN = ("SQUEUE_", "SACCT_", "SACCTMGR_", "SCANCEL_", "SCONTROL_", "SINFO_")


WARNED = "LAUNCHER_WARNED"
"""The batch script sets it where the warning before a time limit, or a preemption, came while it was at work."""


def is_inside(environment: _Environment = os.environ) -> bool:
    """Whether this process is part of a scheduler's job."""
    return "SLURM_JOB_ID" in environment


def cluster(environment: _Environment = os.environ) -> str | None:
    """The cluster that this node is part of, by the scheduler's name for it; None where this process is in no job on a node."""
    return environment.get("SLURM_CLUSTER_NAME") if "SLURMD_NODENAME" in environment else None


def job_id(environment: _Environment = os.environ) -> str | None:
    """The job as users type it: 123, or 123_4 for an array element; None outside."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{array_index(environment)}" if array else environment.get("SLURM_JOB_ID")


def native_id(environment: _Environment = os.environ) -> str | None:
    """The job as the scheduler's own messages call it: an array element has a number of its own; None outside."""
    return environment.get("SLURM_JOB_ID")


def array_index(environment: _Environment = os.environ) -> int:
    """The array index of this process's job; 0 where it is none of an array."""
    return int(environment.get("SLURM_ARRAY_TASK_ID", "0"))


def rank(environment: _Environment = os.environ) -> tuple[int, int]:
    """(rank, number of ranks) of this srun task; (0, 1) in a batch script."""
    if environment.get("SLURM_STEP_ID", "").isdigit() and "SLURM_PROCID" in environment:
        return int(environment["SLURM_PROCID"]), int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    return 0, 1


def restarts(environment: _Environment = os.environ) -> int:
    """How often the job was started before."""
    return int(environment.get("SLURM_RESTART_COUNT", "0"))


def end_time(environment: _Environment = os.environ) -> float | None:
    """When the job's time is over, seconds since the epoch; None where that is not told."""
    text = environment.get("SLURM_JOB_END_TIME", "")
    return float(text) if text.isdigit() and int(text) else None


def host(environment: _Environment = os.environ) -> str:
    """This node, by the scheduler's name for it."""
    return environment.get("SLURMD_NODENAME") or os.uname().nodename


def scratch(environment: _Environment = os.environ) -> Path | None:
    """The folder on the node's own disk that some sites make for each job; None where there is none that can be written."""
    folder = environment.get("SLURM_TMPDIR")
    return Path(folder) if folder and os.access(folder, os.W_OK | os.X_OK) else None


def cpus(environment: _Environment = os.environ) -> int | None:
    """CPUs of this task by its request, which nothing may enforce; None where there was none."""
    return _number(environment, "SLURM_CPUS_PER_TASK") or None


def node_cpus(environment: _Environment = os.environ) -> int | None:
    """CPUs that this task was given on this node, as many as it asked for or more; None where nobody tells."""
    return _number(environment, "SLURM_CPUS_ON_NODE") or cpus(environment)


def memory(environment: _Environment = os.environ) -> int | None:
    """Bytes of this task by its request, or by what the site gives where it made none; None where neither tells.

    Slurm tells it in megabytes, by node, CPU or GPU, as it was asked for; 0 is all that the node has.
    """
    asked = {
        "SLURM_MEM_PER_NODE": 1,
        "SLURM_MEM_PER_CPU": _number(environment, "SLURM_CPUS_ON_NODE") or cpus(environment) or 1,
        "SLURM_MEM_PER_GPU": _number(environment, "SLURM_GPUS_ON_NODE") or 1,
    }
    sizes = (count * _number(environment, name) << 20 for name, count in asked.items())
    return next((size for size in sizes if size), None)


def _number(environment: _Environment, name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdigit() else 0
