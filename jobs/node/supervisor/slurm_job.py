"""SlurmJob: what a process asks of Slurm for the job that it is part of: to put it back into the queue, or out of it.

What Slurm gave to the process is in machine/allocation.py; what the login node asks of it, in launcher.slurm.scheduler:
a compute node has to end its own job without that.
"""

import os
import shutil
import subprocess
import sys
import time

from jobs.machine import allocation
from jobs.storage.attempts import Attempts
from jobs.storage.rundir import RunDir

_TIMEOUT = 15.0
_RANKS_TIMEOUT = 20.0
_LOOK = 0.2


def requeue(run: RunDir, submission: int, index: int) -> bool:
    """Puts this array task back into the queue; False where that could not be done, or is another rank's business.

    Slurm ends the job as it requeues it, so the first rank waits until the others have said that they end.
    """
    number, ranks = allocation.rank()
    if number != 0:
        return False
    if ranks > 1:
        _await_ends(run, submission, index)
    print("requeueing this Slurm job: the time limit is near, the rest follows in the next attempt", flush=True)
    return requeue_self()


def requeue_self() -> bool:
    """``scontrol requeue`` of the Slurm job that this process is part of; False, and a message, where that fails."""
    return _succeeds("scontrol", "requeue", os.environ["SLURM_JOB_ID"])


def cancel_waiting(run: RunDir, submission: int) -> None:
    """Ends the array tasks of this submission that have not started (again): there is nothing left for them to do.

    Else the finalize job would wait for them too: for a requeued one minutes, for one without a place any time. Never
    raises. Where several tasks see the end of the work, the first of them asks Slurm.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is None or os.environ.get("SLURM_ARRAY_TASK_COUNT") == "1":
        return
    try:
        (run.claims(submission) / "waiting-cancelled").touch(exist_ok=False)
    except OSError:  # another task was first; or the submission has ended
        return
    _succeeds("scancel", "--quiet", "--state=PENDING", array)


def _await_ends(run: RunDir, submission: int, index: int) -> None:
    """Waits until the attempts of this start of the array task have said that they end."""
    attempts, mine = Attempts(run, submission), (index, allocation.restarts())
    deadline = time.monotonic() + _RANKS_TIMEOUT
    while time.monotonic() < deadline:
        starts = [attempt.start for attempt in attempts.read() if not attempt.is_over]
        if not any(start and (start.index, start.restart) == mine for start in starts):
            return
        time.sleep(_LOOK)


def _environment() -> dict[str, str]:
    """Without what users set for their own scancel: SCANCEL_INTERACTIVE would ask somebody who is not there."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SCANCEL_", "SCONTROL_"))}


def _succeeds(*command: str) -> bool:
    """Whether a command of Slurm did what it should; says why it did not."""
    if shutil.which(command[0]) is None:
        return False
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command[:2])} did not answer", file=sys.stderr, flush=True)
        return False
    if ended.returncode:
        print(f"{' '.join(command[:2])}: {ended.stderr.strip()}", file=sys.stderr, flush=True)
    return ended.returncode == 0
