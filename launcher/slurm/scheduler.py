"""Scheduler: all that is asked of Slurm (squeue, sacct, scontrol, sacctmgr), and scancel; what it gets is in sbatch.py.

No call is made in a loop over jobs: a question about a whole run is one call. A controller that does not answer is waited
for, two minutes long. How a command is run is in calls.py, what it said in parsers.py, what a cluster allows in limits.py.
"""

import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from jobs.errors import RunError
from jobs.machine.user import user_name
from launcher.slurm.calls import ask, at, run
from launcher.slurm.parsers import (
    ACCOUNTED_FIELDS,
    Accounted,
    JobId,
    elements,
    read_accounting,
    read_jobs,
)

# The cluster that Slurm's commands ask when none is named.
OWN: Collection[str | None] = (None,)
_ALL_CLUSTERS = "all"
_COMPLETING = "COMPLETING"
# How far back sacct looks, seconds: clocks of machines differ, and at the end of summer time an hour comes twice. No number is
# given to another job so soon.
_CLOCKS = 86400
# Between a job's name and its command, which may both hold anything that can be typed.
_BESIDE = "\t"
_FORGOTTEN = "Invalid job id specified"
# Of more jobs than these all that the controller knows is asked for: that is one call.
_FEW = 3


@dataclass(frozen=True)
class QueueEntry:
    """An array element (or several pending ones, as ``indices`` tells) as squeue shows it."""

    job: JobId
    indices: str
    state: str
    reason: str
    name: str
    command: str = ""

    @property
    def names(self) -> set[str]:
        """What we may have called it: a plugin or a wrapper of the site may have given it another name, not other arguments."""
        return {self.name, self.command.rpartition(" ")[2]}

    @property
    def elements(self) -> int:
        """How many array elements it stands for; 1 for a job that is none."""
        return max(1, len(elements(self.indices)))

    @property
    def is_refused(self) -> bool:
        """Whether it is what is left of a job of which sbatch said that no node is as it asks: for a while squeue shows it."""
        return (self.state, self.reason) == ("FAILED", "BadConstraints")


def is_here() -> bool:
    """Whether this machine can submit to Slurm."""
    return shutil.which("sbatch") is not None


# --- asking


def find(name: str, clusters: Collection[str | None] = OWN) -> list[JobId]:
    """This user's jobs that were submitted by this name, queued or ended lately, by their numbers; none that was refused."""
    entries = _entries(clusters, f"--user={user_name()}", "--states=all")
    return in_order({entry.job for entry in entries if name in entry.names and not entry.is_refused})


def queue(users: Collection[str] = (), clusters: Collection[str | None] = OWN) -> list[QueueEntry]:
    """Array elements and jobs of these users (none: of this one) that wait or run: one squeue call for each cluster.

    Raises NoAnswer where Slurm is silent.
    """
    return _entries(clusters, f"--user={','.join(users or [user_name()])}")  # --me is of Slurm 20.02


def _entries(clusters: Collection[str | None], *options: str) -> list[QueueEntry]:
    found = []
    for cluster, line in _squeue(clusters, *options, f"--format=%F|%K|%T|%r|%j{_BESIDE}%o"):
        fields = line.split("|", 4)
        if len(fields) == 5 and _is_number(fields[0]):  # other lines are those of a site's wrapper
            number, indices, state, reason, rest = fields
            name, _, command = rest.partition(_BESIDE)
            found.append(QueueEntry(JobId(number, cluster), indices, state, reason, name, command))
    return found


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


def in_order(jobs: Iterable[JobId]) -> list[JobId]:
    """By their numbers: the first is the one that was there first."""
    return sorted(jobs, key=lambda job: (int(job.number), job.cluster or ""))


def accounting(job_ids: Iterable[str], since: float, cluster: str | None = None) -> list[Accounted]:
    """How elements of these jobs ended: one sacct call, from ``since`` (seconds since the epoch) on.

    Raises RunError where the accounting does not answer.
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - _CLOCKS))
    asked = ("-j", ",".join(job_ids), "-S", start, "-o", ACCOUNTED_FIELDS, "--duplicates")
    text = run("sacct", *at(cluster), "-nP", *asked)
    return list(read_accounting(text))


def jobs(job_ids: Iterable[str], cluster: str | None = None) -> list[Accounted]:
    """The same by the controller, for sites without accounting: it forgets a job MinJobAge after its end (300 s).

    Raises RunError where it does not answer.
    """
    wanted = set(job_ids)
    show = partial(ask, "scontrol", *at(cluster), "--all", "--oneliner", "show", "job")
    if len(wanted) > _FEW:
        return [row for row in read_jobs(show()) if row.job_id in wanted]
    found: list[Accounted] = []
    for job_id in wanted:  # scontrol takes one at a time
        try:
            found += read_jobs(show(job_id))
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


def federated_name() -> str | None:
    """What this cluster is called, where it is one of a federation."""
    found = re.search(r"^Self:\s*([^\s:]+)", ask("scontrol", "show", "federation"), re.MULTILINE)
    return found[1] if found else None


def hides_jobs(cluster: str | None = None) -> bool:
    """Whether users see no jobs but their own (PrivateData of slurm.conf)."""
    config = ask("scontrol", *at(cluster), "show", "config")
    return re.search(r"^PrivateData\s*=.*\bjobs\b", config, re.MULTILINE) is not None


def send_no_mail() -> None:
    """Takes back what this job was to tell its user about its end."""
    run("scontrol", "update", f"JobId={os.environ['SLURM_JOB_ID']}", "MailType=NONE")


def await_end(jobs: Iterable[JobId], users: Collection[str], timeout: float = 60.0) -> bool:
    """Waits until none of these jobs of these users waits or runs; False where that takes longer than ``timeout`` seconds.

    For what is ended and cleaned up after it waits half as long: an epilog may hang, and nothing of the run depends on it.
    """
    wanted = set(jobs)
    clusters = {job.cluster for job in wanted}
    begun, pause = time.monotonic(), 0.5
    while left := [entry for entry in queue(users, clusters) if entry.job in wanted]:
        waited = time.monotonic() - begun
        is_over = all(entry.state == _COMPLETING for entry in left)
        if waited > (timeout / 2 if is_over else timeout):
            return is_over
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    return True
