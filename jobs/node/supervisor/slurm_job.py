"""SlurmJob: what a process asks of Slurm for the job that it is part of: to put it back into the queue.

What Slurm gave to the process is in machine/allocation.py; what the login node asks of it, in launcher.slurm.scheduler:
a compute node has to requeue its own job without that.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from jobs.machine import allocation
from jobs.storage.journal import replay
from jobs.storage.rundir import RunDir

_REQUEUE_TIMEOUT = 15.0
_RANKS_TIMEOUT = 20.0


def requeue(run: RunDir, group: Sequence[int]) -> bool:
    """Puts this array task back into the queue; False where that could not be done, or is another rank's business.

    Slurm ends the job as it requeues it, so the first rank waits until the others have committed and left.
    """
    number, ranks = allocation.rank()
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
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_REQUEUE_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        print("scontrol requeue did not answer", file=sys.stderr, flush=True)
        return False
    if ended.returncode:
        print(f"scontrol requeue: {ended.stderr.strip()}", file=sys.stderr, flush=True)
    return ended.returncode == 0


def _await_ends(run: RunDir, shards: Sequence[int]) -> None:
    deadline = time.monotonic() + _RANKS_TIMEOUT
    while time.monotonic() < deadline:
        last = (replay(run.journal(shard)).last for shard in shards)
        if all(attempt is None or attempt.end is not None for attempt in last):
            return
        time.sleep(0.2)
