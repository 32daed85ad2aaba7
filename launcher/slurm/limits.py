"""Limits: what a cluster lets this user submit, and the nodes that it has for it: asked of scontrol, sacctmgr and sinfo."""

import queue as queues
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from jobs.errors import LauncherError, RunError
from jobs.machine.user import user_name
from launcher.slurm.calls import ask, run
from launcher.slurm.capacity import NODE_FIELDS, Nodes, read_nodes
from launcher.slurm.parsers import (
    ASSOCIATION_FIELDS,
    TIME_FIELDS,
    Association,
    read_associations,
    read_default_time,
    submit_limit,
)

# Of slurm.conf(5).
DEFAULT_ARRAY_SIZE = 1001
DEFAULT_JOB_COUNT = 10_000


@dataclass(frozen=True)
class SlurmLimits:
    """What one submission may be: elements of an array, and jobs at a time, of this user (None: no limit known), of all."""

    array_size: int
    submit_jobs: int | None
    job_count: int

    @property
    def jobs(self) -> int:
        """Jobs that this user can have at a time at most."""
        return self.job_count if self.submit_jobs is None else min(self.submit_jobs, self.job_count)


@dataclass(frozen=True)
class _SiteLimits:
    """What holds for all users of a cluster, and this user's own by account."""

    cluster: str
    array_size: int
    job_count: int
    associations: Sequence[Association]


_asked_ahead: "queues.SimpleQueue[_SiteLimits | Exception] | None" = None


def ask_limits_ahead() -> None:
    """Asks for the limits while other things are done: sacctmgr takes as long as planning a small run."""
    global _asked_ahead
    answers = _asked_ahead = queues.SimpleQueue()

    def read() -> None:
        try:
            answers.put(_read_limits())
        except LauncherError as error:
            answers.put(error)

    threading.Thread(target=read, daemon=True).start()


def limits_for(asked: Mapping[str, str | None]) -> SlurmLimits:
    """The controller's limits, and this user's own from the accounting, where there is one, for jobs with these options."""
    global _asked_ahead
    answers, _asked_ahead = _asked_ahead, None
    answer = answers.get() if answers else _read_limits()
    if isinstance(answer, Exception):
        raise answer
    own = submit_limit(answer.associations, answer.cluster, asked.get("account"), asked.get("partition"))
    return SlurmLimits(answer.array_size, own, answer.job_count)


def _read_limits() -> _SiteLimits:
    config = ask("scontrol", "show", "config", otherwise="; to run on this machine instead: --set executor=local")
    values = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", config, re.MULTILINE))
    associations: list[Association] = []
    if values.get("AccountingStorageType") == "accounting_storage/slurmdbd":
        with suppress(LauncherError):  # slurmdbd is down, or sacctmgr is not on this machine: sbatch will tell
            fields = f"format={ASSOCIATION_FIELDS}"
            associations = read_associations(run("sacctmgr", "-nP", "show", "user", user_name(), "withassoc", fields))
    numbers = dict(re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*([0-9]{1,18})\b", config, re.MULTILINE))
    sizes = [int(numbers.get("MaxArraySize", DEFAULT_ARRAY_SIZE))]
    sizes += map(int, re.findall(r"max_array_tasks=([0-9]{1,18})\b", values.get("SchedulerParameters", "")))
    count = int(numbers.get("MaxJobCount", DEFAULT_JOB_COUNT))
    return _SiteLimits(values.get("ClusterName", ""), min(sizes), count, associations)


def default_time(partitions: str | None) -> int | None:
    """Seconds that a job has which asks for none: its partition's default, else the most there is in it.

    The least of those of several ``partitions`` (with commas; None: the default one); None where there is no limit, or
    where Slurm does not tell.
    """
    with suppress(LauncherError):  # it only tells
        return read_default_time(run("sinfo", "--noheader", "--all", f"--format={TIME_FIELDS}"), partitions)
    return None


def nodes() -> list[Nodes]:
    """The nodes that run jobs, hidden partitions included; none where Slurm does not tell."""
    with suppress(RunError):
        return read_nodes(run("sinfo", "--noheader", "--all", "--exact", f"--format={NODE_FIELDS}"))
    return []
