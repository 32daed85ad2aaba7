"""Meter: what a task's processes take, those too that a Job starts: memory at its peak, CPU seconds, GPU use."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.kinds import FailureKind
from jobs.machine import gpus, memory
from jobs.machine.process_stat import ProcessStat
from jobs.machine.process_tree import ProcessTree, shares
from jobs.machine.tree_memory import TreeMemory
from jobs.node.supervisor.commit_log import AttemptFailed

# NVML takes milliseconds to ask.
_GPU_SECONDS = 5.0
# Between readings while the Job's modules are imported.
_IMPORT_SECONDS = 0.1
# What is told of a shorter time is chance.
_BUSY_SECONDS = 1.0
# Looks at the GPUs, of each of which NVML tells the last second.
_GPU_LOOKS = 3
# Of the supervisor's time, what readings may take at most.
_SHARE = 0.05

STOPPED = "; it, or a program that it has started, was stopped (by SIGSTOP, or since it wanted to read from a terminal)"


@dataclass(frozen=True)
class Usage:
    """What an attempt was given and took.

    ``cpus`` and ``memory_limit`` (bytes) are the task's; ``peak_memory`` (bytes) is of all its processes together,
    sampled; ``cpu_seconds`` of all of them; ``gpu_use`` is the mean share of time in which the GPUs computed, ``gpu_memory``
    the most that one of them had in use of its ``gpu_memory_limit`` (bytes), ``energy`` what they took (joules): whole GPUs,
    with what others did there. 0 or None: not known.
    """

    cpus: int = 0
    memory_limit: int = 0
    peak_memory: int = 0
    cpu_seconds: float = 0.0
    gpu_use: float | None = None
    gpu_memory: int = 0
    gpu_memory_limit: int = 0
    energy: float | None = None


@dataclass(frozen=True)
class Reading:
    """``total`` bytes are of all processes of the task; ``children`` are, by pid, those of each with all it has started."""

    total: int
    children: Mapping[int, int]

    @property
    def largest(self) -> int:
        """The pid of the child that takes most; 0 where there is none."""
        return max(self.children, key=self.children.__getitem__, default=0)


class Meter:
    """Follows the processes of a task: this one, and all below it. ``taken``: their memory at the last reading, bytes."""

    def __init__(self, cpus: int, memory_limit: int, gpu_names: Sequence[str]) -> None:
        self.read_at = 0.0
        self.taken = 0
        self._cost = 0.0
        self._tree = ProcessTree(os.getpid())
        self._memory = TreeMemory()
        self._cpus = cpus
        self._limit = memory_limit
        self._gpu_names = gpu_names
        self._peak = 0
        self._cpu = 0.0
        self._cpu_before = 0.0
        self._busy: float | None = None
        self._busy_since = (time.monotonic(), 0.0)
        self._gpu: list[float] = []
        self._gpu_memory = (0, 0)
        self._joules: tuple[float, float] | None = None
        self._gpu_read_at = 0.0

    def begin(self) -> None:
        """A new attempt begins: what was taken until now is not its own."""
        self._peak, self._gpu, self._gpu_memory, self._joules = 0, [], (0, 0), None
        self._look()
        self._cpu_before = self._cpu
        self._busy, self._busy_since = None, (time.monotonic(), self._cpu)

    def is_due(self, interval: float) -> bool:
        """Whether it is time for a reading: every ``interval`` seconds, less often where many processes make it slow."""
        return time.monotonic() - self.read_at >= max(interval, self._cost / _SHARE)

    def read(self, children: Iterable[int]) -> Reading:
        """Takes a reading; ``children`` are pids of processes that have guardians. One that is over the limit is exact."""
        started = time.thread_time()  # not of the clock: where CPUs are short it would look less often
        tree = self._look()
        sizes = self._memory.read(tree)
        if sum(sizes.values()) > self._limit and not self._memory.is_exact:
            sizes = self._memory.read(tree, exactly=True)
        guardians = {tree[pid].parent: pid for pid in children if pid in tree}
        taken = {
            guardians[top]: sum(sizes.get(pid, 0) for pid in below) for top, below in shares(tree, guardians).items()
        }
        reading = Reading(sum(sizes.values()), taken)
        self.taken = reading.total
        self._peak = max(self._peak, reading.total)
        self.read_at = time.monotonic()
        self._cost = time.thread_time() - started
        self._read_gpus()
        return reading

    def has_stopped(self, child: int) -> bool:
        """Whether a child is stopped, or something that it has started, so that it waits for ever."""
        tree = self._look()
        guardian = [tree[child].parent] if child in tree else []
        return any(tree[pid].state == "T" for below in shares(tree, guardian).values() for pid in below)

    def check_imports(self, are_through: bool) -> None:
        """Raises AttemptFailed where what is imported takes more than the task may use, before there are children."""
        if (are_through or self.is_due(_IMPORT_SECONDS)) and (taken := self.read(()).total) > self._limit:
            sizes = f"{memory.in_words(taken)}, of {memory.in_words(self._limit)} that the task may use"
            raise AttemptFailed(FailureKind.OUT_OF_MEMORY, f"importing what the Job needs takes {sizes}")

    def _look(self) -> Mapping[int, ProcessStat]:
        tree = self._tree.look()
        # Who has ended is in the time of whoever waited for it. For a moment it may be in neither.
        self._cpu = max(self._cpu, sum(stat.cpu_seconds + stat.reaped_seconds for stat in tree.values()))
        return tree

    def _read_gpus(self) -> None:
        if not self._gpu_names or self.read_at - self._gpu_read_at < _GPU_SECONDS:
            return
        self._gpu_read_at = self.read_at
        found = gpus.look(self._gpu_names)
        if found is None:
            return
        if found.use is not None:
            self._gpu.append(found.use)
        if found.memory:
            self._gpu_memory = max(self._gpu_memory, found.memory)
        self._note_energy(found)

    def _note_energy(self, found: gpus.GpuLook) -> None:
        if found.joules is not None:
            self._joules = self._joules[0] if self._joules else found.joules, found.joules

    def busy_cpus(self) -> float | None:
        """How many CPUs its processes have kept busy, as a mean over the time since this was asked last; None so far."""
        seconds = self.read_at - self._busy_since[0]
        if seconds >= _BUSY_SECONDS:
            self._busy = round((self._cpu - self._busy_since[1]) / seconds, 2)
            self._busy_since = (self.read_at, self._cpu)
        return self._busy

    @property
    def busy_gpus(self) -> float | None:
        """How busy its GPUs have been lately, 0 to 1; None where nobody tells."""
        latest = self._gpu[-_GPU_LOOKS:]
        return round(sum(latest) / len(latest), 3) if latest else None

    def usage(self) -> Usage:
        """What the attempt has taken so far."""
        self._look()
        if self._joules and (found := gpus.look(self._gpu_names)):
            self._note_energy(found)
        gpu_use = round(sum(self._gpu) / len(self._gpu), 3) if self._gpu else None
        energy = round(self._joules[1] - self._joules[0], 1) if self._joules else None
        own = self._cpus, self._limit, self._peak, round(self._cpu - self._cpu_before, 2)
        return Usage(*own, gpu_use, *self._gpu_memory, energy)

    @property
    def cpus(self) -> int:
        """How many the task may use."""
        return self._cpus

    @property
    def gpus(self) -> int:
        """How many it may use."""
        return len(self._gpu_names)
