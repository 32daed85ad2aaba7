"""Ceilings: the most memory and time that a job may ask for where it is to run, so that retries ask for no more than that."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from jobs.errors import LauncherError
from launcher.slurm.calls import run
from launcher.units import parse_time

_MEGABYTE = 1 << 20
# Partition (the default one marked by *), its time limit, the megabytes of a node.
_FIELDS = "%P|%l|%m"


@dataclass(frozen=True)
class Ceilings:
    """Bytes of the largest node, and seconds of the longest partition; None: no limit, or none that is known."""

    memory: int | None = None
    time: int | None = None
    partition: str = ""


def ceilings_for(asked: Mapping[str, str | None]) -> Ceilings:
    """Those of a job with these options; of several partitions, what one of them allows."""
    try:
        found = read_partitions(run("sinfo", "--noheader", "--all", "--exact", f"--format={_FIELDS}"))
    except LauncherError:
        return Ceilings()
    return _lowered(highest(found, asked.get("partition")), asked.get("qos"))


@dataclass(frozen=True)
class _Row:
    partition: str
    is_default: bool
    time: int | None
    memory: int


def read_partitions(text: str) -> list[_Row]:
    """Rows of sinfo, some for each partition: nodes of one size each."""
    rows = [line.strip().split("|") for line in text.splitlines() if line.count("|") == _FIELDS.count("|")]
    return [
        _Row(name.rstrip("*"), name.endswith("*"), _seconds(time), int(memory.rstrip("+")) * _MEGABYTE)
        for name, time, memory in rows
        if memory.rstrip("+").isdigit()
    ]


def highest(rows: list[_Row], partitions: str | None) -> Ceilings:
    """The most that any of these partitions (with commas; None: the default one) allows."""
    named = partitions.split(",") if partitions else None
    own = [row for row in rows if (row.partition in named if named else row.is_default)]
    if not own:
        return Ceilings()
    times = [row.time for row in own]
    longest = None if None in times else max(time for time in times if time is not None)
    memory = max(row.memory for row in own)
    # A megabyte is what Slurm says where slurm.conf does not tell the memory of nodes.
    return Ceilings(memory if memory > _MEGABYTE else None, longest, ", ".join(dict.fromkeys(r.partition for r in own)))


def _lowered(found: Ceilings, qos: str | None) -> Ceilings:
    """With the time limit of the QOS that is asked for, where it has one."""
    if not qos:
        return found
    with suppress(LauncherError):
        said = run("sacctmgr", "-nP", "show", "qos", qos, "format=MaxWall")
        limit = _seconds(said.strip())
        if limit is not None:
            return Ceilings(found.memory, min(limit, found.time or limit), found.partition)
    return found


def _seconds(text: str) -> int | None:
    """``infinite`` and nothing are no limit."""
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None
