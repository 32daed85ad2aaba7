"""Scheduler: all that is said to Slurm and asked of it (sbatch, squeue, sacct, scontrol, sacctmgr, scancel).

No call is made in a loop over jobs: a question about a whole run is one call. A controller that does not answer is waited
for, two minutes long. How a command is run is in calls.py, what it said in parsers.py, what a cluster allows in limits.py.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import InputError, LauncherError, RunError
from jobs.machine.user import user_name
from launcher.slurm.calls import BACK_OFF, NoAnswer, TimedOut, ask, at, call, call_bound, pause, run
from launcher.slurm.parsers import (
    ACCOUNTED_FIELDS,
    Accounted,
    JobId,
    elements,
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
# The cluster that Slurm's commands ask when none is named.
OWN: Collection[str | None] = (None,)
_ALL_CLUSTERS = "all"
_FORGOTTEN = "Invalid job id specified"


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

    job: JobId
    indices: str
    state: str
    reason: str
    name: str

    @property
    def elements(self) -> int:
        """How many array elements it stands for; 1 for a job that is none."""
        return max(1, len(elements(self.indices)))


def is_here() -> bool:
    """Whether this machine can submit to Slurm."""
    return shutil.which("sbatch") is not None


# --- submitting


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
    before every further try after a passing error, since after "Socket timed out" the job may well be there. Raises
    LimitReached, InputError (sbatch refuses the script) or NoAnswer.
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
            told = read_job_id(ended.stdout)
            jobs = find(name, clusters) if number or told is None else []
            if told is None and not jobs:
                raise InputError(f"sbatch {script}: it tells no job id: {said(ended.stdout + ended.stderr)}")
            # A try that failed may have arrived late: the first job stays, the others are cancelled.
            others = [job for job in jobs if told is None or not job.may_be(told)]
            first, *twins = _in_order([*others, told] if told else others)
            for twin in twins:
                cancel([twin.number], twin.cluster)
            return first
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


def find(name: str, clusters: Collection[str | None] = OWN) -> list[JobId]:
    """This user's Slurm jobs with this name, queued or ended lately, in the order of their numbers."""
    options = (f"--user={user_name()}", f"--name={name}", "--states=all", "--format=%F|%j")
    rows = ((cluster, *line.partition("|")) for cluster, line in _squeue(clusters, *options))
    # Other lines are those of a site's wrapper.
    return _in_order(
        {JobId(number, cluster) for cluster, number, _, found in rows if _is_number(number) and found == name}
    )


def queue(users: Collection[str] = (), clusters: Collection[str | None] = OWN) -> list[QueueEntry]:
    """Array elements and jobs of these users (none: of this one) that wait or run: one squeue call for each cluster.

    Raises NoAnswer where Slurm is silent.
    """
    # --me is of Slurm 20.02.
    options = (f"--user={','.join(users or [user_name()])}", "--format=%F|%K|%T|%r|%j")
    rows = ((cluster, line.split("|", 4)) for cluster, line in _squeue(clusters, *options))
    return [
        QueueEntry(JobId(row[0], cluster), *row[1:]) for cluster, row in rows if len(row) == 5 and _is_number(row[0])
    ]


def _squeue(clusters: Collection[str | None], *options: str) -> Iterator[tuple[str | None, str]]:
    """The lines of squeue, each with the cluster that it is of. Raises NoAnswer where one of them does not answer."""
    for cluster in _each(clusters):
        # Jobs in hidden partitions too.
        for line in ask("squeue", *at(cluster), "--noheader", "--all", *options).splitlines():
            yield cluster, line.strip()


def _each(clusters: Collection[str | None]) -> list[str | None]:
    """Clusters one by one: sbatch takes ``all`` for those that the accounting knows."""
    if _ALL_CLUSTERS not in clusters:
        return sorted(set(clusters), key=str)
    return [*sorted(run("sacctmgr", "-nP", "show", "cluster", "format=Cluster").split())]


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]{1,18}", text) is not None


def _in_order(jobs: Iterable[JobId]) -> list[JobId]:
    return sorted(jobs, key=lambda job: (int(job.number), job.cluster or ""))


def accounting(job_ids: Iterable[str], since: float, cluster: str | None = None) -> list[Accounted]:
    """How elements of these jobs ended: one sacct call, from ``since`` (seconds since the epoch) on.

    Raises RunError where the accounting does not answer.
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    asked = ("-j", ",".join(job_ids), "-S", start, "-o", ACCOUNTED_FIELDS, "--duplicates")
    text = run("sacct", *at(cluster), "-nP", *asked)
    return list(read_accounting(text))


def jobs(job_ids: Iterable[str], cluster: str | None = None) -> list[Accounted]:
    """The same by the controller, for sites without accounting: it forgets a job MinJobAge after its end (300 s).

    Raises RunError where it does not answer.
    """
    found: list[Accounted] = []
    for job_id in job_ids:  # scontrol takes one at a time; a run has few arrays
        try:
            found += read_jobs(ask("scontrol", *at(cluster), "--oneliner", "show", "job", job_id))
        except RunError as error:
            if _FORGOTTEN not in str(error):
                raise
    return found


# --- ending


def cancel(job_ids: Sequence[str], cluster: str | None = None) -> None:
    """scancel of whole jobs, or of array elements such as 12_3; ids that Slurm forgot are no error."""
    if job_ids:
        ask("scancel", *at(cluster), "--quiet", *job_ids)


def cluster_name() -> str:
    """What this cluster is called."""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", ask("scontrol", "show", "config"), re.MULTILINE)
    if found is None:
        raise RunError("scontrol show config: it tells no ClusterName")
    return found[1]


def hides_jobs(cluster: str | None = None) -> bool:
    """Whether users see no jobs but their own (PrivateData of slurm.conf)."""
    config = ask("scontrol", *at(cluster), "show", "config")
    return re.search(r"^PrivateData\s*=.*\bjobs\b", config, re.MULTILINE) is not None


def send_no_mail() -> None:
    """Takes back what this job was to tell its user about its end."""
    run("scontrol", "update", f"JobId={os.environ['SLURM_JOB_ID']}", "MailType=NONE")


def await_end(jobs: Iterable[JobId], users: Collection[str], timeout: float = 60.0) -> bool:
    """Waits until none of these jobs of these users waits or runs; False where that takes longer than ``timeout`` seconds."""
    wanted = set(jobs)
    clusters = {job.cluster for job in wanted}
    deadline = time.monotonic() + timeout
    pause = 0.5
    while any(entry.job in wanted for entry in queue(users, clusters)):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    return True
