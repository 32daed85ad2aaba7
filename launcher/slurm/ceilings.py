"""Ceilings: the most memory and time that a job may ask for where it is to run, so that retries ask for no more than that."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from jobs.errors import LauncherError
from launcher.slurm.calls import run
from launcher.slurm.capacity import Nodes, nodes_of
from launcher.slurm.limits import nodes_at
from launcher.slurm.parsers import amount
from launcher.units import parse_time

_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Ceilings:
    """Bytes of the largest node, and seconds of the longest partition; None: no limit, or none that is known."""

    memory: int | None = None
    time: int | None = None
    partition: str = ""


def ceilings_for(asked: Mapping[str, str | None], cluster: str | None = None) -> Ceilings:
    """Those of a job with these options on this cluster; of several partitions, what one of them allows."""
    return _lowered(highest(nodes_at(cluster), asked.get("partition")), asked.get("qos"))


def highest(nodes: Sequence[Nodes], partitions: str | None) -> Ceilings:
    """The most that any of these partitions (with commas; None: the default one) allows."""
    own = nodes_of(nodes, partitions)
    if not own:
        return Ceilings()
    times = [group.time for group in own]
    longest = None if None in times else max(time for time in times if time is not None)
    memory = max(group.memory for group in own)
    # A megabyte is what Slurm says where slurm.conf does not tell the memory of nodes.
    return Ceilings(memory if memory > _MEGABYTE else None, longest, ", ".join(dict.fromkeys(g.partition for g in own)))


def _lowered(found: Ceilings, qos: str | None) -> Ceilings:
    """With the time limit of the QOS that is asked for, where it has one."""
    if not qos:
        return found
    with suppress(LauncherError):
        limit = amount(parse_time, run("sacctmgr", "-nP", "show", "qos", qos, "format=MaxWall").strip())
        if limit is not None:
            return Ceilings(found.memory, min(limit, found.time or limit), found.partition)
    return found
