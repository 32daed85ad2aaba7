"""Associations: what the accounting lets the jobs of a user be: the limits of his association, its accounts and its QOS. Pure.

As in acct_policy.c of slurmctld a limit of the QOS takes the place of the same one of the association. The QOS of a
partition is not among them, nor is what is used of a group's share (GrpTRESMins, GrpWall) or by others of it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from launcher.slurm.parsers import amount
from launcher.units import counted, parse_memory, parse_time, short_size

_NUMBER = re.compile("[0-9]{1,18}")
_RESOURCE = re.compile(r"(cpu|mem|node|gres/gpu)=([0-9.]+[KMGT]?)", re.IGNORECASE)
_GROUP_FIELDS = "GrpSubmitJobs,GrpJobs,GrpTRES,GrpTRESRunMins"
_JOB_FIELDS = "MaxTRES,MaxTRESMins,MaxWall"
USER_FIELDS = f"DefaultAccount,Account,Partition,Cluster,MaxSubmitJobs,MaxJobs,{_JOB_FIELDS},{_GROUP_FIELDS}"
# Asked for by itself: for its name, as for those of resources, sacctmgr asks slurmdbd once more, and waits.
DEFAULT_QOS_FIELDS = "Cluster,Account,Partition,DefaultQOS"
ACCOUNT_FIELDS = f"Cluster,Account,ParentName,{_GROUP_FIELDS}"
QOS_FIELDS = (
    "Name,MaxSubmitJobsPU,MaxSubmitJobsPA,MaxJobsPU,MaxJobsPA,MaxTRESPU,MaxTRESPA,MaxTRESPerNode,"
    f"{_JOB_FIELDS},{_GROUP_FIELDS}"
)
_NORMAL = "normal"

Resources = Mapping[str, int]
"""Of a job: cpu, mem (bytes), node, gres/gpu."""


@dataclass(frozen=True)
class Bounds:
    """The limits of one record: jobs that wait or run, those that run, of a user and of all in it; what one job may take.

    ``job``: at a time; ``node``: of a node; ``minutes``: times the minutes that it asks for; ``group``, ``group_minutes``: all
    together that run.
    """

    submit_jobs: int | None = None
    group_jobs: int | None = None
    run_jobs: int | None = None
    group_run_jobs: int | None = None
    time: int | None = None
    job: Resources = field(default_factory=dict)
    node: Resources = field(default_factory=dict)
    minutes: Resources = field(default_factory=dict)
    group: Resources = field(default_factory=dict)
    group_minutes: Resources = field(default_factory=dict)

    def over(self, other: "Bounds") -> "Bounds":
        """These, and the other's where they say nothing."""

        def filled(own: Any, others: Any) -> Any:
            return {**others, **own} if isinstance(own, Mapping) else others if own is None else own

        return Bounds(*map(filled, self._values, other._values))

    def at_once(self, asked: Resources, seconds: int | None) -> int | None:
        """How many such jobs run at a time at most; None where there is no limit. 0: none ever does."""
        found = [number for number in (self.run_jobs, self.group_run_jobs) if number is not None]
        found += [most // asked[name] for name, most in self.group.items() if asked.get(name)]
        wanted = _minutes(asked, seconds)
        found += [int(most // wanted[name]) for name, most in self.group_minutes.items() if wanted.get(name)]
        return min(found, default=None)

    @property
    def _values(self) -> list[Any]:
        return [getattr(self, one.name) for one in fields(self)]

    @classmethod
    def least(cls, many: Iterable["Bounds"]) -> "Bounds":
        """Where several hold at once."""

        def lowest(*values: Any) -> Any:
            return _least_of(values) if isinstance(values[0], Mapping) else _minimum(values)

        return cls(*map(lowest, *(one._values for one in many)))


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
                above = Bounds.least([one.bounds, *self._above(cluster, one.account)])
                own = self.qos.get(qos or one.qos or _NORMAL, Bounds())
                found = Bounds.least([found, own.over(above)])
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
    nodes = max(asked.get("node", 1), 1)
    on_a_node = {name: number // nodes for name, number in asked.items() if name != "node"}
    found = [
        f"{_amount(name, number)}{where}, and its account or QOS lets a job have {_amount(name, least[name])}{where}"
        for least, wanted, where in (
            (_least_of([bounds.job, bounds.group]), asked, ""),
            (bounds.node, on_a_node, " on a node"),
        )
        for name, number in wanted.items()
        if number > least.get(name, number)
    ]
    if seconds and bounds.time and seconds > bounds.time:
        found.append(f"{seconds // 60} min, and its account or QOS lets a job run {bounds.time // 60} min")
    least = _least_of([bounds.minutes, bounds.group_minutes])
    found += [
        f"{seconds // 60} min with {_amount(name, asked[name])}, and its account or QOS lets a job with that have "
        f"{least[name] // asked[name]} min"
        for name, number in _minutes(asked, seconds).items()
        if seconds and number > least.get(name, number)
    ]
    if 0 in (bounds.run_jobs, bounds.group_run_jobs):
        found.append("a job, and its account or QOS lets none run (MaxJobs or GrpJobs is 0)")
    return found


def _minutes(asked: Resources, seconds: int | None) -> dict[str, float]:
    """Resources times minutes, as Slurm counts what a job reserves."""
    return {name: number * (seconds or 0) / 60 for name, number in asked.items()}


def _amount(name: str, number: int) -> str:
    if name == "mem":
        return f"{short_size(number)} of memory"
    return counted(number, {"cpu": "CPU", "node": "node", "gres/gpu": "GPU"}[name])


def _least_of(many: Iterable[Resources]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in many:
        for name, most in one.items():
            found[name] = min(most, found.get(name, most))
    return found


def _minimum(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


# --- reading


def read_policy(users: str, default_qos: str, accounts: str, qos: str) -> Policy:
    """From what sacctmgr shows: USER_FIELDS, DEFAULT_QOS_FIELDS, ACCOUNT_FIELDS, QOS_FIELDS."""
    defaults = {_place(row): row["DefaultQOS"] for row in _rows(default_qos, DEFAULT_QOS_FIELDS)}
    return Policy(
        [
            Association(
                row["Account"] == row["DefaultAccount"],
                row["Account"],
                row["Partition"],
                row["Cluster"],
                defaults.get(_place(row), ""),
                _bounds(row),
            )
            for row in _rows(users, USER_FIELDS)
        ],
        {
            (row["Cluster"], row["Account"]): (row["ParentName"], _bounds(row))
            for row in _rows(accounts, ACCOUNT_FIELDS)
        },
        {row["Name"]: _bounds(row) for row in _rows(qos, QOS_FIELDS)},
    )


def _place(row: Mapping[str, str]) -> tuple[str, ...]:
    """Of a user's association."""
    return row["Cluster"], row["Account"], row["Partition"]


def _bounds(row: Mapping[str, str]) -> Bounds:
    """Of an association, an account or a QOS: what a field is called means the same in each."""

    def number(*names: str) -> int | None:
        return _minimum(_number(row.get(name, "")) for name in names)

    def resources(*names: str) -> dict[str, int]:
        return _least_of(_resources(row.get(name, "")) for name in names)

    return Bounds(
        submit_jobs=number("MaxSubmitJobs", "MaxSubmitJobsPU", "MaxSubmitJobsPA"),
        group_jobs=number("GrpSubmitJobs"),
        run_jobs=number("MaxJobs", "MaxJobsPU", "MaxJobsPA"),
        group_run_jobs=number("GrpJobs"),
        time=amount(parse_time, row.get("MaxWall")),
        job=resources("MaxTRES"),
        node=resources("MaxTRESPerNode"),
        minutes=resources("MaxTRESMins"),
        group=resources("MaxTRESPU", "MaxTRESPA", "GrpTRES"),
        group_minutes=resources("GrpTRESRunMins"),
    )


def _rows(text: str, named: str) -> list[dict[str, str]]:
    """Other lines are those of a site's wrapper."""
    names = named.split(",")
    lines = (line.split("|") for line in text.splitlines())
    return [dict(zip(names, values, strict=True)) for values in lines if len(values) == len(names)]


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _resources(text: str) -> dict[str, int]:
    """``cpu=4,mem=2G,gres/gpu:a100=1``: that of all types together alone."""
    found = {}
    for item in text.split(","):
        if match := _RESOURCE.fullmatch(item.strip()):
            name = match[1].lower()
            # More memory than there can be is Slurm's way to write that there is no limit.
            if (most := amount(parse_memory, match[2]) if name == "mem" else _number(match[2])) is not None:
                found[name] = most
    return found
