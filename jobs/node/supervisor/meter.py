"""Meter: what a task's processes take, for the journal: memory at its peak, CPU seconds, GPU use."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.machine import gpus, memory
from jobs.machine.process_stat import ProcessStat

# NVML takes milliseconds to ask.
_GPU_SECONDS = 5.0
# What memory processes share takes the kernel a millisecond and more a process to find out, in which that process gets no
# new pages. So it is asked where the pages of all of them changed by this share, and again after this many seconds:
# a page that a child no longer shares changes nothing there.
_CHANGE = 0.01
EXACT_SECONDS = 5.0
# Of the supervisor's time, what readings may take at most.
_SHARE = 0.05


@dataclass(frozen=True)
class Usage:
    """What an attempt was given and took.

    ``cpus`` and ``memory_limit`` (bytes) are the task's; ``peak_memory`` (bytes) is of all its processes together,
    sampled; ``cpu_seconds`` of all of them; ``gpu_use`` is the mean share of time in which the GPUs computed.
    """

    cpus: int = 0
    memory_limit: int = 0
    peak_memory: int = 0
    cpu_seconds: float = 0.0
    gpu_use: float | None = None


class Meter:
    """Follows the processes of a task."""

    def __init__(self, cpus: int, memory_limit: int, gpu_names: Sequence[str]) -> None:
        self.read_at = 0.0
        self._cost = 0.0
        self._exact_at = 0.0
        self._known: list[int] = []
        self._pages = 0
        self._largest = 0, 0, 0
        self._together = 0
        self._cpus = cpus
        self._limit = memory_limit
        self._gpu_names = gpu_names
        self._peak = 0
        self._cpu: dict[int, float] = {}
        self._cpu_before = 0.0
        self._gpu: list[float] = []
        self._gpu_read_at = 0.0

    def begin(self) -> None:
        """A new attempt begins: what was taken until now is not its own."""
        self._peak, self._gpu = 0, []
        self._cpu_before = self._cpu_so_far()

    def is_due(self, interval: float) -> bool:
        """Whether it is time for a reading: every ``interval`` seconds, less often where many processes make it slow."""
        return time.monotonic() - self.read_at >= max(interval, self._cost / _SHARE)

    def read(self, pids: Iterable[int]) -> tuple[int, int, int]:
        """Takes a reading; returns (total bytes, pid of the largest, its bytes), of the last exact one if that will do."""
        known, started = list(pids), time.monotonic()
        self._cpu.update({pid: stat.cpu_seconds for pid in known if (stat := ProcessStat.of(pid))})
        pages = sum(map(memory.pages_of, known))
        has_changed = known != self._known or abs(pages - self._pages) > _CHANGE * self._pages
        if has_changed or started - self._exact_at >= EXACT_SECONDS:
            self._largest = memory.largest(known)
            self._together = self._largest[0] + memory.resident(os.getpid())
            self._known, self._pages, self._exact_at = known, pages, started
        self._peak = max(self._peak, self._together)
        self.read_at = time.monotonic()
        self._cost = self.read_at - started
        self._read_gpus()
        return self._largest

    def _read_gpus(self) -> None:
        if not self._gpu_names or self.read_at - self._gpu_read_at < _GPU_SECONDS:
            return
        self._gpu_read_at = self.read_at
        use = gpus.utilisation(self._gpu_names)
        if use is not None:
            self._gpu.append(use)

    def usage(self) -> Usage:
        """What the attempt has taken so far."""
        gpu_use = round(sum(self._gpu) / len(self._gpu), 3) if self._gpu else None
        cpu = round(self._cpu_so_far() - self._cpu_before, 2)
        return Usage(self._cpus, self._limit, self._peak, cpu, gpu_use)

    def _cpu_so_far(self) -> float:
        return sum(self._cpu.values()) + time.process_time()
