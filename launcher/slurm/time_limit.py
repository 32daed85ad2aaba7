"""TimeLimit: how long a job may run, and how long before its end a task is told to leave.

Slurm sends USR2 then, up to 60 s early: sbatch(1), --signal. An array task leaves within its grace, and asks for another start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from launcher.slurm import scheduler
from launcher.slurm.capacity import default_time
from launcher.slurm.limits import nodes
from launcher.slurm.parsers import amount
from launcher.units import format_time, parse_time

if TYPE_CHECKING:
    from launcher.config.config import Config

# Seconds.
_WARNING = 60
_SLACK = 10
_SHORTEST_WARNING = 10


def given_time(asked: Mapping[str, str | None]) -> int | None:
    """The time limit, seconds, of array tasks that ask for none, as far as the cluster is here to tell."""
    if "time" in asked or not scheduler.is_here():
        return None
    found = (default_time(own, asked.get("partition")) for own in nodes(asked))
    return min(filter(None, found), default=None)


def told(given: int | None) -> list[str]:
    """A line about the time that array tasks have though they ask for none."""
    if given is None:
        return []
    return [f"each array task has {format_time(given)}, as its partition gives; slurm.time asks for another time"]


def warning(config: Config, limit: str | None, given: int | None) -> int:
    """Seconds of warning, if not the config's own: of a short limit a quarter, so that some work is done before it."""
    if config.slurm.warning is not None:
        return config.slurm.warning
    most = max(_WARNING, config.slurm.grace + _SLACK)
    seconds = amount(parse_time, limit) if limit else given
    return most if seconds is None else max(_SHORTEST_WARNING, min(most, seconds // 4))


def too_early(config: Config, limit: str | None) -> str | None:
    """What is wrong with the config's warning for tasks with this time limit."""
    own, seconds = config.slurm.warning, amount(parse_time, limit)
    if own is None or seconds is None or own < seconds:
        return None
    return f"{own} s before the end of {seconds} s (--time={limit}) a task has not begun: lower it, or raise slurm.time"
