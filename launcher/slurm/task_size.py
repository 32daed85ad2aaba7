"""TaskSize: the CPUs and GPUs that an array task asks for on each of its nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import InputError
from launcher.config.sbatch_options import gpus_asked

if TYPE_CHECKING:
    from launcher.config.config import Config

_AUTO = "auto"


@dataclass(frozen=True)
class TaskSize:
    """What an array task asks for on each node; ``processes`` is one per GPU where the config leaves it open.

    ``fills``: these are the least, since it has as many processes as the node that it gets has CPUs and GPUs for.
    ``lanes``: the CPUs of a process.
    """

    processes: int
    lanes: int
    cpus: int
    gpus: int
    fills: bool

    def __str__(self) -> str:
        gpus = f"{self.gpus or 'no'} GPUs"
        if self.fills:
            return f"at least {self.cpus} CPUs and {gpus}, and processes for all that its node gives it"
        return f"{self.cpus} CPUs ({self.processes} processes x max(workers, 1)), {gpus}"


def task_size(config: Config, asked: Mapping[str, str | None]) -> TaskSize:
    """Raises InputError where the CPUs asked for are too few."""
    gpus = gpus_asked(asked, config.slurm.nodes_per_task)
    is_open = not isinstance(config.node.processes, int) and config.node.devices in ("auto", "cuda")
    processes = max(gpus, 1) if is_open else config.processes
    needed = config.cpus_per_task(processes)
    given = _number(asked.get("cpus-per-task"))
    if given and given < needed:
        raise InputError(
            f"slurm.template {config.slurm.template}: --cpus-per-task={given} is too few: {processes} process(es) x "
            f"{max(config.node.workers, 1)} worker(s) need {needed}; raise it or leave it out"
        )
    cpus = max(needed, given, _number(asked.get("cpus-per-gpu")) * gpus)
    return TaskSize(processes, max(config.node.workers, 1), cpus, gpus, config.node.processes == _AUTO)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
