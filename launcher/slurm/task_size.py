"""TaskSize: the CPUs and GPUs that an array task asks for on each of its nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.plural import counted
from launcher.config.sbatch_options import gpus_asked

if TYPE_CHECKING:
    from launcher.config.config import Config

_AUTO = "auto"


@dataclass(frozen=True)
class TaskSize:
    """What an array task asks for on each node; ``processes`` is one per GPU where the config leaves it open.

    ``fills``: these are the least, since it has as many processes as the node that it gets has CPUs and GPUs for.
    ``lanes``: the CPUs of a process. ``has_own_gpus``: each process has some GPUs to itself.
    """

    processes: int
    lanes: int
    cpus: int
    gpus: int
    fills: bool
    has_own_gpus: bool = False

    def __str__(self) -> str:
        gpus = counted(self.gpus, "GPU") if self.gpus else "no GPUs"
        if self.fills:
            return f"at least {counted(self.cpus, 'CPU')} and {gpus}, and processes for all that its node gives it"
        each = "(max(workers, 1) + gpus_per_process)" if self.has_own_gpus else "max(workers, 1)"
        processes = counted(self.processes, "process", "processes")
        return f"{counted(self.cpus, 'CPU')} ({processes} x {each}), {gpus}"


def task_size(config: Config, asked: Mapping[str, str | None]) -> TaskSize:
    """Raises InputError where the CPUs asked for are too few."""
    gpus = gpus_asked(asked, config.slurm.nodes_per_task)
    is_open = not isinstance(config.node.processes, int) and config.node.devices in ("auto", "cuda")
    each = config.node.gpus_per_process
    if each and (not gpus or gpus % each):
        raise InputError(
            f"node.gpus_per_process: {each}, and an array task asks for {counted(gpus, 'GPU')}: a multiple of {each} is valid"
        )
    processes = config.node.processes_for(gpus) if is_open else config.processes
    if each and processes * each > gpus:
        raise InputError(
            f"node.processes: {processes}, each with {counted(each, 'GPU')} to itself (node.gpus_per_process), need "
            f"{processes * each}, and an array task asks for {gpus}: ask for more, or lower one of them"
        )
    needed = config.cpus_per_task(processes)
    given = _number(asked.get("cpus-per-task"))
    if given and given < needed:
        own = f" and {counted(each, 'GPU')}" if each else ""
        size = f"{counted(processes, 'process', 'processes')} x {counted(max(config.node.workers, 1), 'worker')}{own}"
        raise InputError(
            f"slurm.template {config.slurm.template}: --cpus-per-task={given} is too few: {size} need {needed}; raise it or "
            "leave it out"
        )
    cpus = max(needed, given, _number(asked.get("cpus-per-gpu")) * gpus)
    return TaskSize(processes, config.node.cpus_per_process, cpus, gpus, config.node.processes == _AUTO, bool(each))


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
