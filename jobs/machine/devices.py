"""Devices: what this array task may use, and which device each process gets.

GPUs are counted without torch, which the supervisor does not import.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jobs.machine import allocation, gpus
from jobs.plural import counted

# The local executor tells each of the array tasks that it runs at a time its share of the CPUs.
CPU_SHARE = "LAUNCHER_CPUS"
# Of processes: as many as there is room for.
AUTO = "auto"
# What torch means by "cuda"; libraries want a number.
_FIRST_GPU = "cuda:0"
_GPU_FOLDER = Path("/proc/driver/nvidia/gpus")


class DeviceSettings(Protocol):
    """What decides the devices of a task: "auto", "cpu", "cuda" or a list of them, and how many processes.

    None: one per device; "auto": one per GPU, or as many as there are CPUs for, each with its pool ``workers``.
    """

    @property
    def devices(self) -> str | tuple[str, ...]: ...
    @property
    def processes(self) -> int | str | None: ...
    @property
    def workers(self) -> int: ...
    @property
    def gpus_per_process(self) -> int | None: ...


def usable_cpus(environment: Mapping[str, str] = os.environ, processes: int | str | None = None) -> int:
    """CPUs that this task may really use: affinity, the cgroup's quota, and its share by Slurm or the local executor.

    With as many ``processes`` as there is room for, all that Slurm gave to it here, and not only what it asked for.
    """
    limits = [len(os.sched_getaffinity(0))]
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(max(1, int(quota)))
    share = environment.get(CPU_SHARE, "")
    given = allocation.node_cpus(environment) if processes == AUTO else allocation.cpus(environment)
    limits += [count for count in (given, int(share) if share.isdigit() else None) if count is not None]
    return max(1, min(limits))


def _cgroup_quota() -> float | None:
    """CPUs of the cgroup's bandwidth limit (v2 cpu.max, v1 cfs quota), as seen from inside; None: no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    return None if quota.strip() in ("max", "-1") else int(quota) / int(period)


def usable_gpus(settings: DeviceSettings, environment: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """CUDA's numbers of the GPUs that a task may take.

    Those that Slurm or the user made visible; where nobody chose (``devices: auto`` outside Slurm), those that are free.
    """
    count = visible_gpus(environment)
    if settings.devices != "auto" or allocation.is_inside(environment) or "CUDA_VISIBLE_DEVICES" in environment:
        return tuple(range(count))
    return gpus.free(count) if count else ()


def visible_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """GPUs that CUDA will show to a process: those that CUDA_VISIBLE_DEVICES names, else those of the driver."""
    names = gpus.chosen(environment)
    if names is not None:
        return len(names)
    return len(list(_GPU_FOLDER.iterdir())) if _GPU_FOLDER.is_dir() else 0


def process_devices(settings: DeviceSettings, usable: tuple[int, ...]) -> tuple[str, ...]:
    """The device of each process. One process per listed or usable device, or ``processes`` of them in turn."""
    devices: tuple[str, ...] = ("cpu",)
    if settings.gpus_per_process:
        devices = (_FIRST_GPU,) * max(1, len(usable) // settings.gpus_per_process)  # the first that it sees
    elif isinstance(settings.devices, tuple):
        devices = tuple(_FIRST_GPU if device == "cuda" else device for device in settings.devices)
    elif settings.devices == "cuda" or (settings.devices == "auto" and usable):
        devices = tuple(f"cuda:{number}" for number in usable or (0,))
    return tuple(devices[number % len(devices)] for number in range(_count(settings, devices)))


def gpu_groups(
    settings: DeviceSettings, usable: tuple[int, ...], environment: Mapping[str, str] = os.environ
) -> tuple[tuple[str, ...], ...]:
    """The GPUs of each process, as CUDA_VISIBLE_DEVICES names them; neighbours are together.

    None each where all are shared, and where there are too few (see ``too_few_gpus``).
    """
    count = len(process_devices(settings, usable))
    each = settings.gpus_per_process
    if each is None or too_few_gpus(settings, usable):
        return ((),) * count
    names = gpus.tokens(environment, visible_gpus(environment))
    return tuple(tuple(names[number] for number in usable[at : at + each]) for at in range(0, count * each, each))


def too_few_gpus(settings: DeviceSettings, usable: tuple[int, ...]) -> str | None:
    """What is wrong where not each process can have ``gpus_per_process`` GPUs to itself."""
    each = settings.gpus_per_process or 0
    count = len(process_devices(settings, usable))
    if count * each <= len(usable):
        return None
    has, processes = f"this task has {counted(len(usable), 'GPU')}", counted(count, "process", "processes")
    return f"node.gpus_per_process: {each}, and {has}: it needs {count * each}, for {processes}"


def measured_gpus(
    settings: DeviceSettings, devices: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """The GPUs whose use and energy are the task's, as CUDA_VISIBLE_DEVICES names them.

    All that a scheduler gave to it, used or not; outside of one, where others use the same machine, those of its processes.
    """
    names = gpus.tokens(environment, visible_gpus(environment))
    if allocation.is_inside(environment) or settings.gpus_per_process:
        return names
    used = {int(device.partition(":")[2] or 0) for device in devices if device.startswith("cuda")}
    return tuple(name for number, name in enumerate(names) if number in used)


def _count(settings: DeviceSettings, devices: Sequence[str]) -> int:
    if isinstance(settings.processes, int):
        return settings.processes
    if settings.gpus_per_process or settings.processes is None or any(device.startswith("cuda") for device in devices):
        return len(devices)
    return max(1, usable_cpus(processes=settings.processes) // max(settings.workers, 1))


def threads_for(device: str, processes: int, workers: int, cpus: int) -> int:
    """Compute threads of a process: its fair share of the CPUs less its pool workers'; 1 where a GPU does the computing.

    More would compete with the workers, and wait by spinning: on 2 cores, 2 threads beside 2 workers are slower than 1.
    """
    return 1 if device.startswith("cuda") else max(1, cpus // processes - workers)


def compute_threads(devices: Sequence[str], workers: int, cpus: int) -> tuple[int, ...]:
    """Compute threads of the processes on these devices, with ``workers`` pool workers each, on so many CPUs."""
    return tuple(threads_for(device, len(devices), workers, cpus) for device in devices)
