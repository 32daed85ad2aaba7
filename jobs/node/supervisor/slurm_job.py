"""SlurmJob: what a process asks of Slurm for the job that it is part of: to put it back into the queue, or out of it.

What Slurm gave to the process is in machine/allocation.py; what the login node asks of it, in launcher.slurm.scheduler:
a compute node has to end its own job without that.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from jobs.errors import RunError
from jobs.machine import allocation
from jobs.storage.attempts import Attempts
from jobs.storage.files import exists
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission

_TIMEOUT = 15.0
_LOOK = 0.2
# Among the claims: made by the array task that has seen the end of the work.
_ENDED = "silent-ended"
# As in takeover: who writes no beat for so long is not expected back.
_SILENCE = 60.0
# So long it takes others, as a rule, to see that all is done.
_SETTLING = 8.0
_QUEUE = ("squeue", "--noheader", "--all", "--format=%i")
# Slurm sends the warning up to 60 s early, sbatch(1), --signal; and a task takes some time to leave.
_EARLY = 120.0
_TIMES = re.compile(r"((?:\d+-)?[\d:]+)\|((?:\d+-)?[\d:]+)")


def requeue(run: RunDir, submission: Submission, index: int) -> bool:
    """Puts this array task back into the queue; False where that could not be done, or is another rank's business.

    Slurm ends the job as it requeues it, so the first rank waits until the others have said that they end.
    """
    number, ranks = allocation.rank()
    if number != 0:
        return False
    if ranks > 1:
        _await_ends(run, submission.number, index, submission.resources.grace)
    print("requeueing this Slurm job: the rest follows in the next attempt", flush=True)
    return requeue_self()


def is_near_its_end(warning: int) -> bool:
    """Whether a warning so many seconds before its time limit is this job's, as far as Slurm tells.

    Sites send the same signal to jobs that are preempted.
    """
    end, near = allocation.end_time(), warning + _EARLY
    if end is not None and end - time.time() >= near:
        return False
    # The end that the job was started with may have been put off since, by as long as it was suspended. Not the end that
    # squeue tells: with the preemption that is seconds away.
    command = ("squeue", "--noheader", "--all", f"--jobs={os.environ.get('SLURM_JOB_ID')}", "--format=%M|%l")
    said = (_said(*command) or "").strip()
    if said.endswith("|UNLIMITED"):
        return False
    times = _TIMES.fullmatch(said)
    return times is None or _seconds(times[2]) - _seconds(times[1]) < near


def _seconds(text: str) -> int:
    """``1-02:03:04``, ``02:03:04`` or ``03:04``."""
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = f"0:0:{clock}".split(":")[-3:]
    return (int(days or 0) * 24 + int(hours)) * 3600 + int(minutes) * 60 + int(seconds)


def requeue_self() -> bool:
    """``scontrol requeue`` of the Slurm job that this process is part of; False, and a message, where that fails."""
    return _succeeds("scontrol", "requeue", os.environ["SLURM_JOB_ID"])


def has_ended_others(run: RunDir, submission: int) -> bool:
    """Whether an array task has seen the end of the work, and done what follows: nobody else need look for it."""
    return exists(run.claims(submission) / _ENDED)


def cancel_waiting(run: RunDir, submission: int) -> None:
    """Ends the array tasks of this submission that have not started (again): there is nothing left for them to do.

    Else the finalize job would wait for them too: for a requeued one minutes, for one without a place any time. Never
    raises. Where several tasks see the end of the work, the first of them asks Slurm.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if os.environ.get("SLURM_ARRAY_TASK_COUNT") == "1":
        return
    try:
        # Without an array each task is a job of its own, as far as the launcher has recorded them.
        jobs = (array,) if array else Submission.read(run.submission(submission)).job_ids
        if not array and len(jobs) < 2:
            return
        (run.claims(submission) / "waiting-cancelled").touch(exist_ok=False)
    except (OSError, RunError):  # another task was first; or the submission has ended
        return
    _succeeds("scancel", "--quiet", "--state=PENDING", *jobs)


def end_silent(run: RunDir, submission: int, stop: Callable[[], bool], silence: float = _SILENCE) -> None:
    """Ends the array tasks that are still there when nothing is left to do, and do not write: frozen, or cut off.

    Else the finalize job would wait for them, for as long as their node stays so. All rows are done, so whoever is ended
    wrongly loses nothing. Never raises. The first task that sees the end of the work does it.
    """
    try:
        (run.claims(submission) / _ENDED).touch(exist_ok=False)
        jobs = _silent(run, submission, stop, silence)
    except (OSError, RunError):  # another task was first; or the submission has ended
        return
    if jobs:
        print(f"ending what is silent, and not needed any more: {' '.join(jobs)}", flush=True)
        _succeeds("scancel", "--quiet", *jobs)


def _silent(run: RunDir, submission: int, stop: Callable[[], bool], silence: float) -> list[str]:
    """The jobs that Slurm still has, whose attempts write no beat for ``silence`` seconds; waits until that is known of all."""
    attempts, seen, began = Attempts(run, submission), dict[str, tuple[int, float]](), time.monotonic()
    there: set[str] | None = None
    while not stop():
        now = time.monotonic()
        # By the ids that people use: the numbers that elements have of their own scancel knows only now and then.
        left = {str(a.start.job_id): a for a in attempts.read() if a.start and a.start.job_id and not a.is_over}
        left.pop(str(allocation.job_id()), None)
        if there is None and left and now - began > min(_SETTLING, silence):
            # Others that only were killed are gone: nobody has to wait for them.
            there = set((_said(*_QUEUE, f"--jobs={','.join(sorted(left))}") or "").split())
        left = {job: attempt for job, attempt in left.items() if there is None or job in there}
        for attempt in left.values():
            if attempt.name not in seen or seen[attempt.name][0] != attempt.beat.number:
                seen[attempt.name] = attempt.beat.number, now
        if all(now - seen[attempt.name][1] >= silence for attempt in left.values()) and (there or not left):
            return sorted(left)
        time.sleep(_LOOK)
    return []


def _await_ends(run: RunDir, submission: int, index: int, grace: float) -> None:
    """Waits until the attempts of this start of the array task have said that they end, ``grace`` seconds at most."""
    attempts, mine = Attempts(run, submission), (index, allocation.restarts())
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline:
        starts = [attempt.start for attempt in attempts.read() if not attempt.is_over]
        if not any(start and (start.index, start.restart) == mine for start in starts):
            return
        time.sleep(_LOOK)


def _environment() -> dict[str, str]:
    """Without what users set for their own eyes, SCANCEL_INTERACTIVE would ask somebody who is not there; and of this cluster.

    With the SLURM_CLUSTERS of whoever submitted it, another one's job of the same number would be requeued.
    """
    hidden = (*allocation.USERS_OWN, "SLURM_CLUSTERS")
    own = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**own, "SLURM_TIME_FORMAT": "standard"}


def _succeeds(*command: str) -> bool:
    """Whether a command of Slurm did what it should."""
    return _said(*command) is not None


def _said(*command: str) -> str | None:
    """What a command of Slurm answered; None where it did not do what it should, and why is printed."""
    if shutil.which(command[0]) is None:
        return None
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command[:2])} did not answer", file=sys.stderr, flush=True)
        return None
    if ended.returncode:
        print(f"{' '.join(command[:2])}: {ended.stderr.strip()}", file=sys.stderr, flush=True)
        return None
    return ended.stdout
