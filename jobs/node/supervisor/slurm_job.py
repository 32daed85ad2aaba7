"""SlurmJob: what an array task needs of Slurm on its node: which shards are its own, its log, its requeue.

Outside Slurm there is nothing to do. (What the login node asks of Slurm is in launcher.slurm.scheduler; a compute node
has to requeue its own job without it.)
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.storage.journal import replay
from jobs.storage.rundir import RunDir

_REQUEUE_TIMEOUT = 15.0
_RANKS_TIMEOUT = 20.0


def is_inside(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is part of a Slurm job."""
    return "SLURM_JOB_ID" in environment


def rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """(rank, number of ranks) of this srun task; (0, 1) in a batch script."""
    if environment.get("SLURM_STEP_ID", "").isdigit() and "SLURM_PROCID" in environment:
        return int(environment["SLURM_PROCID"]), int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    return 0, 1


def own_shards(group: Sequence[int], environment: Mapping[str, str] = os.environ) -> list[int]:
    """The shards of a group that this process runs: all of them, or every R-th where R nodes share the group."""
    number, ranks = rank(environment)
    return list(group[number::ranks])


def open_log(path: Path) -> None:
    """Sends stdout and stderr, also of all children, to the end of a shard's log."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def requeue(run: RunDir, group: Sequence[int]) -> bool:
    """Puts this array task back into the queue; False where that could not be done, or is another rank's business.

    Slurm ends the job as it requeues it, so the first rank waits until the others have committed and left.
    """
    number, ranks = rank()
    if number != 0:
        return False
    if ranks > 1:
        _await_ends(run, group[1:])
    print("requeueing this Slurm job: the time limit is near, the rest follows in the next attempt", flush=True)
    return requeue_self()


def requeue_self() -> bool:
    """``scontrol requeue`` of the Slurm job that this process is part of; False, and a message, where that fails."""
    if shutil.which("scontrol") is None:
        return False
    command = ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_REQUEUE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        print("scontrol requeue did not answer", file=sys.stderr, flush=True)
        return False
    if ended.returncode:
        print(f"scontrol requeue: {ended.stderr.strip()}", file=sys.stderr, flush=True)
    return ended.returncode == 0


def _await_ends(run: RunDir, shards: Sequence[int]) -> None:
    deadline = time.monotonic() + _RANKS_TIMEOUT
    while time.monotonic() < deadline and not all(_has_ended(run, shard) for shard in shards):
        time.sleep(0.2)


def _has_ended(run: RunDir, shard: int) -> bool:
    last = replay(run.journal(shard)).last
    return last is None or last.end is not None
