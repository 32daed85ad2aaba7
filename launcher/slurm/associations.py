"""Associations: what the accounting lets the jobs of a user be: the limits of his association, its accounts and its QOS. Pure.

As in acct_policy.c of slurmctld a limit of the QOS takes the place of the same one of the association. The QOS of a
partition is not among them, nor is what others use of a group's share.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from launcher.units import counted, parse_memory, parse_time, short_size

_NUMBER = re.compile("[0-9]{1,18}")
_RESOURCE = re.compile(r"(cpu|mem|node|gres/gpu)=([0-9.]+[KMGT]?)", re.IGNORECASE)
USER_FIELDS = "DefaultAccount,Account,Partition,Cluster,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs,MaxTRES,GrpTRES,MaxWall"
ACCOUNT_FIELDS = "Cluster,Account,ParentName,GrpSubmitJobs,GrpTRES"
QOS_FIELDS = "Name,MaxSubmitJobsPU,MaxSubmitJobsPA,GrpSubmitJobs,MaxTRES,MaxTRESPU,MaxTRESPA,GrpTRES,MaxWall"
_NORMAL = "normal"

Resources = Mapping[str, int]
"""Of a job: cpu, mem (bytes), node, gres/gpu."""


@dataclass(frozen=True)
class Bounds:
    """The limits of one record: jobs that wait or run, of a user and of all in it; what one job may take, and all together."""

    submit_jobs: int | None = None
    group_jobs: int | None = None
    time: int | None = None
    job: Resources = field(default_factory=dict)
    group: Resources = field(default_factory=dict)

    def over(self, other: "Bounds") -> "Bounds":
        """These, and the other's where they say nothing."""
        return Bounds(
            other.submit_jobs if self.submit_jobs is None else self.submit_jobs,
            other.group_jobs if self.group_jobs is None else self.group_jobs,
            other.time if self.time is None else self.time,
            {**other.job, **self.job},
            {**other.group, **self.group},
        )


@dataclass(frozen=True)
class Association:
    """What a user may do on an account, in a partition (none named: all) of a cluster."""

    is_default: bool
    account: str
    partition: str
    cluster: str
    qos: str
    bounds: Bounds


@dataclass(frozen=True)
class Policy:
    """All that the accounting says of a user: his associations, accounts by (cluster, name) with their parent, QOS by name."""

    associations: Sequence[Association] = ()
    accounts: Mapping[tuple[str, str], tuple[str, Bounds]] = field(default_factory=dict)
    qos: Mapping[str, Bounds] = field(default_factory=dict)

    def bounds(self, cluster: str, account: str | None, partitions: str | None, qos: str | None) -> Bounds:
        """The limits of a job on this account (None: the default one), in these partitions, with this QOS."""
        named = partitions.split(",") if partitions else []
        found = Bounds()
        for one in self.associations:
            is_its = one.account == account if account else one.is_default
            if is_its and one.cluster == cluster and (not one.partition or one.partition in named):
                above = _least([one.bounds, *self._above(cluster, one.account)])
                own = self.qos.get(qos or one.qos or _NORMAL, Bounds())
                found = _least([found, own.over(above)])
        return found

    def _above(self, cluster: str, account: str) -> Iterable[Bounds]:
        """Of the account and of those that it belongs to."""
        seen: set[str] = set()
        while account not in seen and (known := self.accounts.get((cluster, account))):
            seen.add(account)
            account, bounds = known
            yield bounds


def too_much(asked: Resources, seconds: int | None, bounds: Bounds) -> list[str]:
    """What of a job is more than its limits let any job have, so that it would wait for ever."""
    least = _least_of([bounds.job, bounds.group])
    found = [
        f"{_amount(name, asked[name])}, and its account or QOS lets a job have {_amount(name, most)}"
        for name, most in least.items()
        if asked.get(name, 0) > most
    ]
    if seconds and bounds.time and seconds > bounds.time:
        found.append(f"{seconds // 60} min, and its account or QOS lets a job run {bounds.time // 60} min")
    return found


def _amount(name: str, amount: int) -> str:
    if name == "mem":
        return f"{short_size(amount)} of memory"
    return counted(amount, {"cpu": "CPU", "node": "node", "gres/gpu": "GPU"}[name])


def _least(all_bounds: Iterable[Bounds]) -> Bounds:
    """Where several hold at once."""
    many = list(all_bounds)
    return Bounds(
        _minimum(one.submit_jobs for one in many),
        _minimum(one.group_jobs for one in many),
        _minimum(one.time for one in many),
        _least_of([one.job for one in many]),
        _least_of([one.group for one in many]),
    )


def _least_of(many: Iterable[Resources]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in many:
        for name, amount in one.items():
            found[name] = min(amount, found.get(name, amount))
    return found


def _minimum(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


# --- reading


def read_policy(users: str, accounts: str, qos: str) -> Policy:
    """From what sacctmgr shows: USER_FIELDS, ACCOUNT_FIELDS, QOS_FIELDS."""
    return Policy(
        [
            Association(
                account == default,
                account,
                partition,
                cluster,
                own_qos,
                Bounds(_number(most), _number(group), _seconds(wall), _resources(job), _resources(together)),
            )
            for default, account, partition, cluster, own_qos, most, group, job, together, wall in _rows(
                users, USER_FIELDS
            )
        ],
        {
            (cluster, account): (parent, Bounds(group_jobs=_number(group), group=_resources(together)))
            for cluster, account, parent, group, together in _rows(accounts, ACCOUNT_FIELDS)
        },
        {
            name: Bounds(
                _minimum(map(_number, (user, account))),
                _number(group),
                _seconds(wall),
                _resources(job),
                _least_of(map(_resources, (of_user, of_account, together))),
            )
            for name, user, account, group, job, of_user, of_account, together, wall in _rows(qos, QOS_FIELDS)
        },
    )


def _rows(text: str, fields: str) -> list[list[str]]:
    """Other lines are those of a site's wrapper."""
    return [line.split("|") for line in text.splitlines() if line.count("|") == fields.count(",")]


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _seconds(text: str) -> int | None:
    try:
        return parse_time(text)
    except ValueError:
        return None


def _bytes(text: str) -> int | None:
    """None for what is beyond all memory: so Slurm writes that there is no limit."""
    try:
        return parse_memory(text)
    except ValueError:
        return None


def _resources(text: str) -> dict[str, int]:
    """``cpu=4,mem=2G,gres/gpu:a100=1``: that of all types together alone."""
    found = {}
    for item in text.split(","):
        if match := _RESOURCE.fullmatch(item.strip()):
            name = match[1].lower()
            if (most := _bytes(match[2]) if name == "mem" else _number(match[2])) is not None:
                found[name] = most
    return found
