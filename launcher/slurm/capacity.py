"""Capacity: the nodes of a cluster as sinfo shows them: how many array tasks of a size run on them at once, and how long.

More tasks than that only wait: each would begin after another has left, set up its model, and find less to do. Pure.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launcher.slurm.parsers import amount
from launcher.units import parse_time

# Partition (the default one marked by *), nodes, CPUs and gres of a node, state, megabytes of a node, who may share it, the
# time that jobs have which ask for none, and the most.
NODE_FIELDS = "%P|%D|%c|%G|%T|%m|%h|%L|%l"
# The states of sinfo(1) in which a node runs jobs, or will once those that it has are done; marks such as ~ (powered down
# until it is needed) follow the word. A node with * does not respond.
_USABLE = re.compile(r"(idle|mixed|allocated|completing|planned|reserved|powering_up|powered_down|blocked|reboot)[^*]*")
_GPUS = re.compile(r"gpu:(?:[^:,()]+:)?(\d+)")


@dataclass(frozen=True)
class Nodes:
    """Equal nodes of a partition; ``cpus``, ``gpus`` and ``memory`` (bytes) are those of one node.

    ``whole``: the partition gives them to one job at a time. ``default_time`` and ``time`` are seconds, None where there is no
    limit.
    """

    partition: str
    is_default: bool
    count: int
    cpus: int
    gpus: int
    memory: int = 0
    whole: bool = False
    is_usable: bool = True
    default_time: int | None = None
    time: int | None = None


def read_nodes(text: str) -> list[Nodes]:
    """Those of sinfo's rows of NODE_FIELDS."""
    rows = [line.strip().split("|") for line in text.splitlines() if line.count("|") == NODE_FIELDS.count("|")]
    return [
        Nodes(
            partition.rstrip("*"),
            partition.endswith("*"),
            int(count),
            int(cpus),
            sum(map(int, _GPUS.findall(gres))),
            int(memory) << 20 if memory.isdigit() else 0,
            shared == "EXCLUSIVE",
            _USABLE.fullmatch(state) is not None,
            amount(parse_time, default),
            amount(parse_time, most),
        )
        for partition, count, cpus, gres, state, memory, shared, default, most in rows
        if count.isdigit() and cpus.isdigit()
    ]


def nodes_of(nodes: Iterable[Nodes], partitions: str | None) -> list[Nodes]:
    """Those of these partitions (with commas; None: the default one). Nodes in several of them are there several times."""
    named = partitions.split(",") if partitions else None
    return [group for group in nodes if (group.partition in named if named else group.is_default)]


def misfits(nodes: Sequence[Nodes], partitions: str | None, cpus: int) -> list[str]:
    """What is asked for and is not there: partitions, more CPUs than each of their nodes has."""
    known = dict.fromkeys(group.partition for group in nodes)
    strange = [name for name in (partitions or "").split(",") if name and name not in known]
    if known and strange:
        return [f"there is no partition {', '.join(strange)}; there are: {', '.join(known)}"]
    most = max((group.cpus for group in nodes_of(nodes, partitions)), default=cpus)
    return [f"an array task asks for {cpus} CPUs, and no node of the partition has more than {most}"] * (cpus > most)


def tasks_at_once(nodes: Iterable[Nodes], partitions: str | None, cpus: int, gpus: int, *, whole_nodes: bool) -> int:
    """How many tasks of so many CPUs and GPUs these partitions have room for; 0 where none fits."""
    there = [group for group in nodes_of(nodes, partitions) if group.is_usable]
    return sum(group.count * _on_one(group, cpus, gpus, whole_nodes or group.whole) for group in there)


def default_time(nodes: Iterable[Nodes], partitions: str | None) -> int | None:
    """Seconds that a job has in these partitions which asks for none: the default, else the most; the least of several."""
    return min(filter(None, (group.default_time or group.time for group in nodes_of(nodes, partitions))), default=None)


def _on_one(node: Nodes, cpus: int, gpus: int, whole_nodes: bool) -> int:
    room = min(node.cpus // cpus, node.gpus // gpus if gpus else node.cpus)
    return min(room, 1) if whole_nodes else room
