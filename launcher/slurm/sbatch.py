"""Sbatch: gives a script to Slurm, once whatever is said to that, and tells apart why one is refused."""

import re
import subprocess
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from jobs.errors import InputError, LauncherError, RunError
from launcher.slurm.calls import BACK_OFF, NoAnswer, TimedOut, call, call_bound, pause
from launcher.slurm.parsers import (
    JobId,
    is_about_arrays,
    is_busy,
    is_for_now,
    is_passing,
    is_queue_full,
    is_submit_limit,
    is_wrong_place,
    read_job_id,
    said,
)
from launcher.slurm.scheduler import OWN, cancel, find, in_order

# sbatch itself waits two minutes for a place in the queue of all users.
_SBATCH_TIMEOUT = 300.0
# Waits for a job that sbatch said nothing of, seconds.
_ARRIVAL = (0.5, 1.5, 3.0, 5.0)
_ARRAY = re.compile(rb"^#SBATCH --array=.*\n", re.MULTILINE)


class LimitReached(RunError):
    """Slurm takes no more jobs of this user now; later it will."""


class QueueFull(LimitReached):
    """Slurm takes no more jobs of anybody now."""


class NoArrays(InputError):
    """Slurm takes no job arrays here."""


class MayNotSubmit(InputError):
    """This user may submit, but not from this machine."""


def submit(
    script: Path,
    name: str,
    clusters: Collection[str | None] = OWN,
    *,
    is_new: bool = True,
    index: int | None = None,
) -> JobId:
    """Submits a script; returns the Slurm job. ``name`` is its job name, which no other job has.

    ``index``: of an array task that is a job of its own; the script takes it as its argument.

    What may be there already (not ``is_new``) is looked for by name, in the ``clusters`` that the script may go to. So it is
    before every further try after a passing error, since after "Socket timed out" the job may well be there; and after a
    refusal, since a site's own command around sbatch may end badly when it is. The script gets the name as an argument, too:
    a plugin of the site may rename the job. Raises LimitReached, InputError (sbatch refuses the script) or NoAnswer.
    """
    if not is_new and (found := find(name, clusters)):
        return found[0]
    tries = len(BACK_OFF) + 1
    for number in range(tries):
        if number and (found := find(name, clusters)):
            return found[0]
        try:
            ended = _sbatch(script, name, index)
        except NoAnswer as error:
            problem = str(error)
        else:  # what Slurm does not answer from here on is no reason to submit again
            if not ended.returncode:
                return _submitted(script, name, clusters, ended, is_further=number > 0)
            refusal = _refusal(said(ended.stderr or ended.stdout), script, "; see it with `launcher plan --script`")
            if not isinstance(refusal, NoAnswer):
                # Or the try before has arrived after it was looked for, and has taken the last place.
                if found := find(name, clusters):
                    return found[0]
                raise refusal
            problem = str(refusal)
        if number < len(BACK_OFF):
            pause("sbatch", problem, BACK_OFF[number])
    raise NoAnswer(f"sbatch {script}: {problem}; tried {tries} times. Is slurmctld up? (scontrol ping)")


def _submitted(
    script: Path,
    name: str,
    clusters: Collection[str | None],
    ended: subprocess.CompletedProcess[str],
    *,
    is_further: bool,
) -> JobId:
    """The job that sbatch has made. Of a try before a ``further`` one it may have arrived late: the first job stays."""
    told, is_alone = read_job_id(ended.stdout), len(ended.stdout.split()) == 1
    jobs = find(name, clusters) if is_further or not is_alone else []
    if not (jobs or told):
        jobs = _arrived(name, clusters)
    # Beside what a site's wrapper says a number may be anything; then the name tells which job it is.
    if told and (is_alone or not jobs or any(job.may_be(told) for job in jobs)):
        jobs = in_order([*(job for job in jobs if not job.may_be(told)), told])
    if not jobs:
        raise InputError(
            f"sbatch {script}: it tells no job id: {said(ended.stdout + ended.stderr)}\nNo job with the name or the "
            f"argument {name} is there; should one come later, end it with scancel"
        )
    first, *twins = jobs
    for twin in twins:
        cancel([twin.number], twin.cluster)
    return first


def _arrived(name: str, clusters: Collection[str | None]) -> list[JobId]:
    """A job of which sbatch has told nothing, once it is there: a site's own command may hand it on after its end."""
    for wait in _ARRIVAL:
        if found := find(name, clusters):
            return found
        time.sleep(wait)
    return find(name, clusters)


def _sbatch(script: Path, name: str, index: int | None) -> subprocess.CompletedProcess[str]:
    """One call of sbatch, however it ended. Raises NoAnswer where it did not."""
    try:
        own = (str(script), name) if index is None else (f"--job-name={name}", str(script), str(index), name)
        return call_bound("sbatch", "--parsable", *own, timeout=_SBATCH_TIMEOUT)
    except TimedOut as error:
        raise NoAnswer(str(error)) from None


def _refusal(problem: str, script: Path, hint: str = "") -> LauncherError:
    """Why sbatch did not submit: for now (NoAnswer, LimitReached), or until somebody mends the script."""
    if is_queue_full(problem):
        return QueueFull(f"sbatch {script}: {problem}")
    if is_submit_limit(problem):
        return LimitReached(f"sbatch {script}: {problem}")
    if is_passing(problem):
        return NoAnswer(problem)
    kind = MayNotSubmit if is_wrong_place(problem) else InputError
    if is_about_arrays(problem) and _takes_no_arrays(script):
        kind = NoArrays
    return kind(
        f"sbatch {script}: {problem}\nThe script is made from slurm.template and the slurm section of the config{hint}; "
        "what there is on this cluster: launcher doctor"
    )


def _takes_no_arrays(script: Path) -> bool:
    """Whether the script is taken without its array alone: not even one of two elements is. A refusal does not tell that."""
    alone = _ARRAY.sub(b"", script.read_bytes())
    if _is_taken("--array=0-1", str(script)):  # two, since an array of one is left where MaxArraySize is 1
        return False
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder, script.name)
        job.write_bytes(alone)
        return _is_taken(str(job))


def _is_taken(*arguments: str) -> bool:
    """Whether Slurm takes it, now or when there is room for it."""
    ended = call("sbatch", "--test-only", *arguments)
    return not ended.returncode or is_for_now(said(ended.stderr))


def test_only(script: Path) -> str:
    """What ``sbatch --test-only`` says of a script; raises InputError where it refuses it."""
    ended = call("sbatch", "--test-only", str(script))
    problem = said(ended.stderr)
    if ended.returncode and is_busy(problem):  # a real sbatch queues it
        return problem
    if ended.returncode and not isinstance(refusal := _refusal(problem, script), NoAnswer):
        raise refusal
    return (ended.stderr or ended.stdout).strip().removeprefix("sbatch: ")
