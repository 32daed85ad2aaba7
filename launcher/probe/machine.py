"""Machine: what of this machine an array task may be tried on: CPUs, GPUs, memory."""

import os
from dataclasses import dataclass, replace

from jobs.machine.devices import process_devices, usable_cpus, usable_gpus, visible_gpus
from jobs.machine.gpus import tokens
from jobs.machine.memory import task_limit
from launcher.config.config import Config
from launcher.config.settings import node_settings
from launcher.executors import choose_executor
from launcher.units import counted, gibibytes


@dataclass(frozen=True)
class Machine:
    """``cpus`` are numbers of CPUs; ``visible`` is CUDA_VISIBLE_DEVICES for a task, None: as it is; ``memory`` bytes for one.

    ``devices`` are those of a task with one process each, which has ``gpus_per_process`` to itself (0: they are shared).
    """

    host: str
    cpus: tuple[int, ...]
    devices: tuple[str, ...]
    visible: str | None
    memory: int
    gpus_per_process: int = 0

    @property
    def gpus(self) -> int:
        own = self.gpus_per_process * len(self.devices)
        return own or len({device for device in self.devices if device.startswith("cuda")})

    @property
    def memory_of_all(self) -> int:
        """Bytes for all array tasks that are here at a time, whatever ``node.memory`` says of one."""
        return task_limit()

    @property
    def environment(self) -> dict[str, str]:
        return {} if self.visible is None else {"CUDA_VISIBLE_DEVICES": self.visible}

    def describe(self) -> str:
        cpus, gpus = counted(len(self.cpus), "CPU"), counted(self.gpus, "GPU")
        return f"{self.host}: {cpus}, {gpus}, {gibibytes(self.memory)} of memory"


def find_machine(config: Config) -> Machine:
    """What array tasks of this config would have here. Raises InputError where they are to have more GPUs than there are."""
    settings = replace(node_settings(config), processes=None)
    visible = None
    if settings.devices != "cpu":
        here = usable_gpus(settings)
        shown = choose_executor(config.executor).visible_gpus(config, len(here))
        if shown is not None:
            names = tokens(os.environ, visible_gpus())
            visible = ",".join(names[number] for number in here[:shown])
    environment = dict(os.environ) if visible is None else {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
    devices = process_devices(settings, usable_gpus(settings, environment))
    cpus = tuple(sorted(os.sched_getaffinity(0)))[: usable_cpus()]
    memory, own = settings.memory or task_limit(), settings.gpus_per_process or 0
    return Machine(os.uname().nodename, cpus, devices, visible, memory, own)
