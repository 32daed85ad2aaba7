"""Whole nodes: array tasks that have nodes for themselves, what they leave idle there, and what to set. Pure.

A node is allocated whole where the task asks for that (slurm.exclusive), or where the partition does so with every job. It is
paid for whole, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from launcher.config.sbatch_options import MEMORY_OPTIONS
from launcher.slurm.capacity import Nodes
from launcher.slurm.task_size import TaskSize
from launcher.units import gibibytes

if TYPE_CHECKING:
    from launcher.config.config import Config

# Of --exclusive: it is for the CPUs alone, and other jobs run beside.
_SHARED = ("user", "mcs", "topo")
# What is told begins at half: a node's own share of memory, and CPUs that do not come out even, are no waste.
_IDLE = 2


def are_asked(asked: Mapping[str, str | None]) -> bool:
    """Whether a task asks for nodes of its own."""
    return "exclusive" in asked and asked["exclusive"] not in _SHARED


def with_all_memory(asked: dict[str, str | None]) -> dict[str, str | None]:
    """Options of a task that fills its nodes: where they ask for no memory, all of it. Slurm gives what is asked alone."""
    return {**asked, "mem": "0"} if are_asked(asked) and not MEMORY_OPTIONS & asked.keys() else asked


def idle(config: Config, size: TaskSize, nodes: Sequence[Nodes], memory: int | None) -> str | None:
    """What a task leaves idle of the largest of these nodes, and what to set, in words; None where it is little.

    ``memory``: bytes that it asks for, None where it does not.
    """
    node = max(nodes, key=lambda group: (group.gpus, group.cpus), default=None)
    if node is None:
        return None
    processes, gpus = _on(node, config, size)
    cpus = max(size.cpus, processes * size.lanes)
    used = [f"{cpus} of {node.cpus} CPUs"] if cpus * _IDLE <= node.cpus else []
    used += [f"{gpus} of {node.gpus} GPUs"] if node.gpus > 0 and gpus * _IDLE <= node.gpus else []
    lacks_memory = memory is not None and 0 < memory * _IDLE <= node.memory
    used += [f"{gibibytes(memory or 0)} of {gibibytes(node.memory)} of memory"] if lacks_memory else []
    if not used:
        return None
    ways = [_way(config, node, size)] if len(used) > lacks_memory else []
    ways += ["slurm.mem: 0"] if lacks_memory else []
    return f"an array task uses {', '.join(used)} of a node that it has for itself; to use all: {', '.join(ways)}"


def _on(node: Nodes, config: Config, size: TaskSize) -> tuple[int, int]:
    """How many processes a task has on such a node, and how many of its GPUs."""
    gpus = 0 if config.node.devices == "cpu" else node.gpus
    if gpus and config.node.devices in ("auto", "cuda") and not isinstance(config.node.processes, int):
        return gpus, gpus
    if size.fills:
        return node.cpus // size.lanes, 0
    return size.processes, min(size.processes, gpus)


def _way(config: Config, node: Nodes, size: TaskSize) -> str:
    """More pool workers, where each GPU has its process already; the GPUs, where CPUs alone are used; else more processes."""
    if not (size.fills and node.gpus):
        return "node.processes: auto"
    return "node.devices: auto" if config.node.devices == "cpu" else f"node.workers: {node.cpus // node.gpus}"
