"""Scheduler: all that is said to Slurm and asked of it (sbatch, squeue, sacct, scontrol, sacctmgr, scancel).

No call is made in a loop over jobs: a question about a whole run is one call. A controller that does not answer is waited
for, two minutes long. How a command is run is in calls.py, what it said in parsers.py, what a cluster allows in limits.py.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import InputError, LauncherError, RunError
from jobs.machine.user import user_name
from launcher.slurm.calls import BACK_OFF, NoAnswer, TimedOut, ask, call, call_bound, pause, run
from launcher.slurm.parsers import (
    ACCOUNTED_FIELDS,
    Accounted,
    is_no_array,
    is_passing,
    is_queue_full,
    is_submit_limit,
    is_wrong_place,
    read_accounting,
    read_job_id,
    read_jobs,
    said,
)

# sbatch itself waits two minutes for a place in the queue of all users.
_SBATCH_TIMEOUT = 300.0


class LimitReached(RunError):
    """Slurm takes no more jobs of this user now; later it will."""


class QueueFull(LimitReached):
    """Slurm takes no more jobs of anybody now."""


class NoArrays(InputError):
    """Slurm takes no job arrays here."""


class MayNotSubmit(InputError):
    """This user may submit, but not from this machine."""


@dataclass(frozen=True)
class QueueEntry:
    """An array element (or several pending ones, as ``indices`` tells) as squeue shows it."""

    job_id: str
    indices: str
    state: str
    reason: str
    name: str


def is_here() -> bool:
    """Whether this machine can submit to Slurm."""
    return shutil.which("sbatch") is not None


# --- submitting


def submit(script: Path, name: str, *, is_new: bool = True, index: int | None = None) -> str:
    """Submits a script; returns the Slurm job id. ``name`` is its job name, which no other job has.

    ``index``: of an array task that is a job of its own; the script takes it as its argument.

    What may be there already (not ``is_new``) is looked for by name. So it is before every further try after a passing
    error, since after "Socket timed out" the job may well be there. Raises LimitReached, InputError (sbatch refuses the
    script) or NoAnswer.
    """
    if not is_new and (found := find([name]).get(name)):
        return found
    tries = len(BACK_OFF) + 1
    for number in range(tries):
        if number and (found := find([name]).get(name)):
            return found
        try:
            ended = _sbatch(script, name, index)
        except NoAnswer as error:
            problem = str(error)
        else:  # what Slurm does not answer from here on is no reason to submit again
            job_id = read_job_id(ended.stdout) or find([name]).get(name)
            if job_id is None:
                raise InputError(f"sbatch {script}: it tells no job id: {said(ended.stdout + ended.stderr)}")
            if number:  # a try that failed may have arrived late: the first job stays, the others are cancelled
                job_id, *twins = sorted({job_id} | _named([name]).get(name, set()), key=int)
                cancel(twins)
            return job_id
        if number < len(BACK_OFF):
            pause("sbatch", problem, BACK_OFF[number])
    raise NoAnswer(f"sbatch {script}: {problem}; tried {tries} times. Is slurmctld up? (scontrol ping)")


def _sbatch(script: Path, name: str, index: int | None) -> subprocess.CompletedProcess[str]:
    """One call of sbatch that ended well. Raises what ``submit`` does, NoAnswer with Slurm's own words."""
    try:
        own = (str(script),) if index is None else (f"--job-name={name}", str(script), str(index))
        ended = call_bound("sbatch", "--parsable", *own, timeout=_SBATCH_TIMEOUT)
    except TimedOut as error:
        raise NoAnswer(str(error)) from None
    if ended.returncode:
        refusal = _refusal(said(ended.stderr), script)
        raise (
            type(refusal)(f"{refusal}; see it with `launcher plan --script`")
            if isinstance(refusal, InputError)
            else refusal
        )
    return ended


def _refusal(problem: str, script: Path) -> LauncherError:
    """Why sbatch did not submit: for now (NoAnswer, LimitReached), or until somebody mends the script."""
    if is_queue_full(problem):
        return QueueFull(f"sbatch {script}: {problem}")
    if is_submit_limit(problem):
        return LimitReached(f"sbatch {script}: {problem}")
    if is_passing(problem):
        return NoAnswer(problem)
    kind = NoArrays if is_no_array(problem) else MayNotSubmit if is_wrong_place(problem) else InputError
    return kind(
        f"sbatch {script}: {problem}\nThe script is made from slurm.template and the slurm section of the config"
    )


def test_only(script: Path) -> str:
    """What ``sbatch --test-only`` says of a script; raises InputError where it refuses it."""
    ended = call("sbatch", "--test-only", str(script))
    if ended.returncode and not isinstance(refusal := _refusal(said(ended.stderr), script), NoAnswer):
        raise refusal
    return (ended.stderr or ended.stdout).strip().removeprefix("sbatch: ")


# --- asking

# Those in hidden partitions too.
_SQUEUE = ("squeue", "--noheader", "--all")


def find(names: Collection[str]) -> dict[str, str]:
    """The ids of this user's Slurm jobs with these names, queued or ended lately, by name: one squeue call."""
    return {name: min(job_ids, key=int) for name, job_ids in _named(names).items()}


def _named(names: Collection[str]) -> dict[str, set[str]]:
    if not names:
        return {}
    text = ask(*_SQUEUE, f"--user={user_name()}", f"--name={','.join(names)}", "--states=all", "--format=%F|%j")
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        job_id, bar, name = line.strip().partition("|")
        if bar and re.fullmatch("[0-9]{1,18}", job_id):  # else it is a line of a site's wrapper
            found.setdefault(name, set()).add(job_id)
    return found


def queue(users: Collection[str] = ()) -> list[QueueEntry]:
    """Array elements and jobs of these users (none: of this one) that wait or run: one squeue call.

    Raises NoAnswer where Slurm is silent.
    """
    # --me is of Slurm 20.02.
    text = ask(*_SQUEUE, f"--user={','.join(users or [user_name()])}", "--format=%F|%K|%T|%r|%j")
    return [QueueEntry(*line.strip().split("|", 4)) for line in text.splitlines() if line.count("|") >= 4]


def accounting(job_ids: Iterable[str], since: float) -> list[Accounted]:
    """How elements of these jobs ended: one sacct call, from ``since`` (seconds since the epoch) on.

    Raises RunError where the accounting does not answer.
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    text = run("sacct", "-nP", "-j", ",".join(job_ids), "-S", start, "-o", ACCOUNTED_FIELDS, "--duplicates")
    return list(read_accounting(text))


def jobs(job_ids: Iterable[str]) -> list[Accounted]:
    """The same by the controller, for sites without accounting: it forgets a job MinJobAge after its end (300 s)."""
    found: list[Accounted] = []
    for job_id in job_ids:  # scontrol takes one at a time; a run has few arrays
        with suppress(LauncherError):
            found += read_jobs(ask("scontrol", "--oneliner", "show", "job", job_id))
    return found


# --- ending


def cancel(job_ids: Sequence[str]) -> None:
    """scancel of whole jobs, or of array elements such as 12_3; ids that Slurm forgot are no error."""
    if job_ids:
        ask("scancel", "--quiet", *job_ids)


def hides_jobs() -> bool:
    """Whether users see no jobs but their own (PrivateData of slurm.conf)."""
    return re.search(r"^PrivateData\s*=.*\bjobs\b", ask("scontrol", "show", "config"), re.MULTILINE) is not None


def send_no_mail() -> None:
    """Takes back what this job was to tell its user about its end."""
    run("scontrol", "update", f"JobId={os.environ['SLURM_JOB_ID']}", "MailType=NONE")


def await_end(job_ids: Iterable[str], users: Collection[str], timeout: float = 60.0) -> bool:
    """Waits until none of these jobs of these users waits or runs; False where that takes longer than ``timeout`` seconds."""
    wanted = set(job_ids)
    deadline = time.monotonic() + timeout
    pause = 0.5
    while any(entry.job_id in wanted for entry in queue(users)):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    return True
