"""Limits: what a cluster lets this user submit, and the nodes that it has for it: asked of scontrol, sacctmgr and sinfo.

These take as long as planning a small run, so they are asked side by side, and while that is done.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from jobs.deadline import begun
from jobs.errors import InputError, LauncherError, RunError
from jobs.machine.user import user_name
from launcher.slurm.associations import (
    ACCOUNT_FIELDS,
    DEFAULT_QOS_FIELDS,
    QOS_FIELDS,
    USER_FIELDS,
    Bounds,
    Policy,
    read_policy,
)
from launcher.slurm.calls import NoAnswer, ask, at, run
from launcher.slurm.capacity import NODE_FIELDS, Nodes, read_nodes

# Of slurm.conf(5).
DEFAULT_ARRAY_SIZE = 1001
DEFAULT_JOB_COUNT = 10_000

_T = TypeVar("_T")


@dataclass(frozen=True)
class SlurmLimits:
    """What one submission may be: elements of an array, and jobs at a time, of this user (None: no limit known), of all.

    ``bounds``: what the accounting lets a job be, by cluster.
    """

    array_size: int
    submit_jobs: int | None
    job_count: int
    bounds: Sequence[Bounds] = ()

    @property
    def has_arrays(self) -> bool:
        """Whether an array may have several elements: MaxArraySize is one more than the largest index."""
        return self.array_size > 1

    @property
    def tasks(self) -> int:
        """The most array tasks of a submission; where there are no arrays, each is a job."""
        return self.array_size if self.has_arrays else self.jobs

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
    policy: Policy

    def of(self, asked: Mapping[str, str | None]) -> SlurmLimits:
        bounds = self.policy.bounds(self.cluster, asked.get("account"), asked.get("partition"), asked.get("qos"))
        known = [number for number in (bounds.submit_jobs, bounds.group_jobs) if number is not None]
        return SlurmLimits(self.array_size, min(known, default=None), self.job_count, [bounds])


# Answers hold for a command: one that stays for days asks anew, since what a site allows may change at any time.
_FRESH_SECONDS = 60.0
_answers: dict[tuple[Callable[..., Any], str | None], tuple[float, Future[Any]]] = {}


def forget() -> None:
    """Asks anew from now on."""
    _answers.clear()


def _asked(read: Callable[[str | None], _T], cluster: str | None) -> "Future[_T]":
    """The answer of a cluster, or a question that is under way."""
    known = _answers.get((read, cluster))
    if known is None or time.monotonic() - known[0] > _FRESH_SECONDS or (known[1].done() and known[1].exception()):
        known = _answers[read, cluster] = time.monotonic(), begun(partial(read, cluster))
    return known[1]


def ask_ahead(asked: Mapping[str, str | None]) -> None:
    """Asks for the limits of jobs with these options, and for the nodes, while other things are done."""
    for cluster in _clusters(asked):
        _asked(_read_limits, cluster)
        _asked(_read_nodes, cluster)


def limits_for(asked: Mapping[str, str | None]) -> SlurmLimits:
    """The controller's limits, and this user's own from the accounting, where there is one, for jobs with these options.

    Of several clusters that the jobs may go to, the smallest.
    """
    questions = [_asked(_read_limits, cluster) for cluster in _clusters(asked)]
    found = [question.result().of(asked) for question in questions]
    own = [limits.submit_jobs for limits in found if limits.submit_jobs is not None]
    sizes, counts = zip(*((limits.array_size, limits.job_count) for limits in found), strict=True)
    bounds = [bounds for limits in found for bounds in limits.bounds]
    return SlurmLimits(min(sizes), min(own, default=None), min(counts), bounds)


def nodes(asked: Mapping[str, str | None]) -> list[list[Nodes]]:
    """The nodes of each cluster that such jobs may go to, of hidden partitions too; none where Slurm does not tell."""
    questions = [_asked(_read_nodes, cluster) for cluster in _clusters(asked)]
    return [question.result() for question in questions]


def nodes_at(cluster: str | None) -> list[Nodes]:
    """Those of one cluster (None: one's own)."""
    return _asked(_read_nodes, cluster).result()


def _clusters(asked: Mapping[str, str | None]) -> Collection[str | None]:
    """For ``all`` one's own stands."""
    named = asked.get("clusters")
    return (None,) if named in (None, "", "all") else dict.fromkeys(str(named).split(","))


def _read_limits(cluster: str | None) -> _SiteLimits:
    own = begun(_read_policy)
    try:
        told = ask(
            "scontrol",
            *at(cluster),
            "show",
            "config",
            otherwise="; to run on this machine instead: --set executor=local",
        )
    except NoAnswer:
        raise
    except RunError as error:
        raise InputError(f"slurm.clusters (SBATCH_CLUSTERS, SLURM_CLUSTERS): {error}") if cluster else error from None
    values = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", told, re.MULTILINE))
    numbers = dict(re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*([0-9]{1,18})\b", told, re.MULTILINE))
    sizes = [int(numbers.get("MaxArraySize", DEFAULT_ARRAY_SIZE))]
    sizes += map(int, re.findall(r"max_array_tasks=([0-9]{1,18})\b", values.get("SchedulerParameters", "")))
    count = int(numbers.get("MaxJobCount", DEFAULT_JOB_COUNT))
    policy = own.result() if heeds_limits(values.get("AccountingStorageEnforce", "")) else Policy()
    return _SiteLimits(values.get("ClusterName", ""), min(sizes), count, policy)


def heeds_limits(enforced: str) -> bool:
    """Whether jobs have to keep to what the accounting says (AccountingStorageEnforce): there may be limits all the same."""
    return bool({"limits", "safe"} & set(enforced.split(",")))


def _read_policy() -> Policy:
    show = partial(run, "sacctmgr", "-nP", "show")
    questions = [
        begun(partial(show, "user", user_name(), "withassoc", f"format={USER_FIELDS}")),
        begun(partial(show, "assoc", "where", f"user={user_name()}", f"format={DEFAULT_QOS_FIELDS}")),
        begun(partial(show, "assoc", "where", "user=", f"format={ACCOUNT_FIELDS}")),
        begun(partial(show, "qos", f"format={QOS_FIELDS}")),
    ]
    with suppress(LauncherError):  # slurmdbd is down, or sacctmgr is not on this machine: sbatch will tell
        return read_policy(*(question.result() for question in questions))
    return Policy()


def _read_nodes(cluster: str | None) -> list[Nodes]:
    with suppress(LauncherError):
        return read_nodes(run("sinfo", *at(cluster), "--noheader", "--all", "--exact", f"--format={NODE_FIELDS}"))
    return []
