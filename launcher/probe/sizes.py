"""Sizes: how many shards, how much memory and time, how many array tasks. Pure arithmetic.

A shard is to take 30 to 60 minutes: what is counted, logged and retried as one. Array tasks share all of them.
"""

import math
from dataclasses import dataclass

from launcher.units import GIB

_SHARD_SECONDS = 45 * 60.0
_LONGEST = 4 / 3  # of the shard seconds
# A shard takes at least so many times its start-up, so that this costs 5%.
STARTUPS = 20
# Shards of a run on one machine, per array task: what fails with one is little.
_LOCAL_SHARE = 4
# What people can still list.
MOST_SHARDS = 10_000
_MOST_TASKS = 256
_LONG_WAIT = 24 * 3600.0
# An array task that takes longer goes on after its limit, in another turn: a short one fits into gaps of a busy cluster.
LONG_TASK = 4 * 3600.0
MEMORY_MARGIN = 1.3
TIME_MARGIN = 2
_USUAL_MINUTES = (10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440)


@dataclass(frozen=True)
class Scope:
    """What is to be done, and what limits it.

    ``local_tasks``: array tasks at a time on this machine, for all of which it has ``memory`` (bytes); None: a scheduler
    runs them. ``parts`` are manifests, ``batches`` those of all rows; ``largest_array`` and ``largest_queue`` limit arrays,
    and a user's jobs.
    """

    rows: int
    batches: int
    parts: int = 1
    local_tasks: int | None = None
    memory: int = 1 << 60
    largest_array: int = 1001
    largest_queue: int = 10_000
    scheduler: str = "the scheduler"


def shard_count(seconds: float, startup: float, scope: Scope) -> int:
    """Shards for work that takes one array task ``seconds``, each after ``startup``; at least 1, at most one a batch."""
    target = max(_SHARD_SECONDS, STARTUPS * startup)
    count = max(round(seconds / target), math.ceil(seconds / (target * _LONGEST)), 1)
    if scope.local_tasks is not None:
        # Some for each of the tasks at a time, as far as start-up allows, and one in any case where that is faster.
        tasks = scope.local_tasks
        rounds = min(int(seconds / (STARTUPS * max(startup, 1e-3))) // tasks, _LOCAL_SHARE)
        if rounds or seconds / tasks > startup:
            count = max(count, tasks * max(rounds, 1))
    return max(min(count, scope.batches, MOST_SHARDS), min(scope.parts, scope.batches), 1)


def memory_size(peak: int) -> int:
    """Bytes to ask for: the peak and 30% more, in half GiB."""
    half = GIB // 2
    return max(math.ceil(peak * MEMORY_MARGIN / half), 1) * half


def time_limit(task_seconds: float, startup: float) -> int:
    """Seconds to ask for: twice what a task takes at a time, its start-up, and that rounded up to a value that people use."""
    minutes = (TIME_MARGIN * min(task_seconds, LONG_TASK) + startup) / 60
    usual = next((usual for usual in _USUAL_MINUTES if usual >= minutes), 0)
    return (usual or math.ceil(minutes / 1440) * 1440) * 60


def task_count(shards: int, shard_seconds: float, most: int) -> int:
    """Array tasks, ``most`` at most: one a shard, or fewer that end together, within a day where that can be."""
    each = math.ceil(shards / _MOST_TASKS)
    if each * shard_seconds > _LONG_WAIT:
        each = max(1, min(each, int(_LONG_WAIT / shard_seconds)))
    return max(1, min(math.ceil(shards / each), most))


def wall_seconds(seconds: float, tasks: int, startup: float) -> float:
    """From the first task's start to the last one's end, were they never to wait in a queue: they share all work."""
    return seconds / tasks + startup
