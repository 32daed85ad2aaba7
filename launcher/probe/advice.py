"""Advice: what a probe recommends for a config, each value with its reason, and what the whole dataset takes then. Pure."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from launcher.config.config import Config
from launcher.probe import sizes
from launcher.probe.choice import WORTH, crowding
from launcher.probe.measurement import Measurement
from launcher.probe.sizes import Scope
from launcher.units import counted, format_memory, format_time, gibibytes, rough_time, short_number


@dataclass(frozen=True)
class Recommendation:
    """A value for a key of the config; ``was`` is what it has now."""

    key: tuple[str, str]
    value: int | str | None
    was: Any
    reason: str

    @property
    def name(self) -> str:
        return ".".join(self.key)


@dataclass(frozen=True)
class Expected:
    """What all samples will take: seconds from the first array task to the last, hours of CPUs and GPUs, bytes of results."""

    samples: int
    tasks: int
    wall_seconds: float
    cpu_hours: float
    gpu_hours: float
    output_bytes: int


@dataclass(frozen=True)
class Advice:
    """Recommendations, in the order of the config, and what they lead to."""

    recommendations: tuple[Recommendation, ...]
    expected: Expected

    def to_json(self) -> dict[str, Any]:
        listed = [
            {"key": one.name, "value": one.value, "was": one.was, "reason": one.reason} for one in self.recommendations
        ]
        return {"recommendations": listed, "expected": asdict(self.expected)}


def advise(config: Config, chosen: Measurement, measured: Sequence[Measurement], scope: Scope) -> Advice:
    """What to set, and what the rows of ``scope`` take then."""
    room, scope = scope, _with_memory_for(scope, chosen)
    crowded = crowding(chosen, measured)
    seconds = scope.rows / (chosen.rate * crowded)
    # The first start-up found nothing in the page cache, as those on other nodes will.
    startup = max(found.startup for found in measured)
    shards = sizes.shard_count(seconds, startup, scope)
    tasks = sizes.task_count(shards, seconds / shards, min(scope.largest_array, scope.largest_queue))
    task_seconds = seconds / tasks
    at_once = min(scope.local_tasks or tasks, shards)
    cpu_seconds = (seconds + at_once * startup) * chosen.cpus
    expected = Expected(
        samples=scope.rows,
        tasks=at_once,
        wall_seconds=sizes.wall_seconds(seconds, at_once, startup),
        cpu_hours=cpu_seconds / 3600,
        gpu_hours=cpu_seconds / chosen.cpus * chosen.gpus / 3600,
        output_bytes=round(chosen.output_bytes * scope.rows),
    )
    values = [
        *_node(config, chosen, measured, crowded),
        _shards(config, scope, shards, seconds, startup),
    ]
    if scope.local_tasks is None:
        limit = format_time(sizes.time_limit(task_seconds, startup))
        values += [
            *_memory(config, chosen),
            (("slurm", "time"), limit, _time_reason(task_seconds, startup)),
            (("slurm", "array_parallelism"), tasks, _tasks_reason(tasks, shards, task_seconds, scope)),
        ]
    else:
        values.append(_parallelism(config, chosen, room, scope))
    now = config.to_mapping()
    return Advice(
        tuple(Recommendation(key, value, now[key[0]].get(key[1]), reason) for key, value, reason in values), expected
    )


_Value = tuple[tuple[str, str], int | str | None, str]


def _node(config: Config, chosen: Measurement, measured: Sequence[Measurement], crowded: float) -> list[_Value]:
    settings = chosen.settings
    # As long as it is one for each device, a task with other devices gets as many as it needs.
    processes: int | str | None = settings.processes
    if chosen.gpus == settings.processes:
        processes = None
    if isinstance(config.node.processes, str):  # as many as each node has room for; that is not for this machine to say
        processes = config.node.processes
    size = "in_flight" if settings.in_flight else "batch_size"
    return [
        (("node", "processes"), processes, _processes_reason(chosen, measured, crowded)),
        (("node", "workers"), settings.workers, _workers_reason(chosen, measured)),
        (("node", size), settings.in_flight or settings.batch_size, _size_reason(chosen, measured)),
    ]


def _memory(config: Config, chosen: Measurement) -> list[_Value]:
    """None for tasks that fill whole nodes: these have all of it."""
    if isinstance(config.node.processes, str):
        return []
    size = format_memory(sizes.memory_size(chosen.peak_memory))
    reason = f"all processes together took {gibibytes(chosen.peak_memory, 2)}; and 30% more, in half GiB"
    return [(("slurm", "mem"), size, reason)]


def _with_memory_for(scope: Scope, chosen: Measurement) -> Scope:
    """With as many array tasks at a time as this machine has memory for: nothing else bounds what they take of it."""
    if scope.local_tasks is None:
        return scope
    fitting = max(1, int(scope.memory / (max(chosen.peak_memory, 1) * sizes.MEMORY_MARGIN)))
    return replace(scope, local_tasks=min(scope.local_tasks, fitting))


def _parallelism(config: Config, chosen: Measurement, room: Scope, scope: Scope) -> _Value:
    """Array tasks at a time on this machine, where they have no limits of their own; ``room`` is without its memory."""
    is_short = scope.local_tasks != room.local_tasks
    reason = f"one takes {gibibytes(chosen.peak_memory, 2)} of {gibibytes(scope.memory)} of memory"
    return ("local", "parallelism"), scope.local_tasks if is_short else config.local.parallelism, reason


def _per(found: Measurement) -> str:
    return f"{short_number(found.value)} samples/s per {'GPU' if found.gpus else 'CPU'}"


def _processes_reason(chosen: Measurement, measured: Sequence[Measurement], crowded: float) -> str:
    others = [m for m in measured if m.settings.processes != chosen.settings.processes]
    if not others:
        return f"{_per(chosen)}; no other number was measured"
    other = max(others, key=lambda found: found.value)
    beside = f"; side by side on all CPUs each keeps {crowded:.0%} of that" if crowded < 1 / WORTH else ""
    with_others = f"{short_number(other.value)} with {counted(other.settings.processes, 'process', 'processes')}"
    return f"{_per(chosen)}, {with_others}{beside}"


def _workers_reason(chosen: Measurement, measured: Sequence[Measurement]) -> str:
    others = [m for m in measured if m.settings.workers != chosen.settings.workers]
    if not others:
        return f"{_per(chosen)}; no other number was measured"
    other = max(others, key=lambda found: found.value)
    fed = min((m for m in measured if m.settings.workers), key=lambda m: m.settings.workers)
    return (
        f"{_per(chosen)}, {short_number(other.value)} with {counted(other.settings.workers, 'worker')}; "
        f"a process with {counted(fed.settings.workers, 'worker')} computes {fed.busy:.0%} of the time"
    )


def _size_reason(chosen: Measurement, measured: Sequence[Measurement]) -> str:
    """Of the size of batches, or of samples in flight."""
    own = chosen.settings
    others = [
        m
        for m in measured
        if (m.settings.processes, m.settings.workers) == (own.processes, own.workers) and m.settings != own
    ]
    if not own.in_flight:
        listed = [f"{short_number(m.rate)} in batches of {m.settings.batch_size}" for m in others]
    else:
        listed = [f"{short_number(m.rate)} with {m.settings.in_flight}" for m in others]
        listed.append(f"half of the samples then take {chosen.median:.3g} s or more")
    return ", ".join([f"{short_number(chosen.rate)} samples/s", *(listed or ["no other size was measured"])])


def _shards(config: Config, scope: Scope, shards: int, seconds: float, startup: float) -> _Value:
    each = f"{rough_time(seconds / shards)} each, start-up {rough_time(startup)}"
    if scope.local_tasks is not None:
        each += f", {scope.local_tasks} at a time on this machine"
    if config.data.samples_per_shard is None:
        return ("data", "shards"), shards, each
    return ("data", "samples_per_shard"), math.ceil(scope.rows / shards), f"{shards} shards: {each}"


def _time_reason(task_seconds: float, startup: float) -> str:
    takes = f"an array task takes {rough_time(task_seconds)} after {rough_time(startup)} of start-up"
    if task_seconds <= sizes.LONG_TASK:
        return f"{takes}; twice that, rounded up"
    return f"{takes}, in several turns: what its limit ends goes on in the next"


def _tasks_reason(tasks: int, shards: int, task_seconds: float, scope: Scope) -> str:
    if tasks == 1:
        return "there is one array task"
    if tasks == shards:
        return "one for each shard"
    queue = f"; {scope.scheduler} takes no more of yours" if tasks == scope.largest_queue else ""
    return f"they share {shards} shards, {rough_time(task_seconds)} each{queue}"
