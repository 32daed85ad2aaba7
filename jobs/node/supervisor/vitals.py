"""Vitals: how the processes of a task are at this moment, as its beats tell others."""

from typing import NamedTuple


class Vitals(NamedTuple):
    """``memory`` is what they take together, bytes; ``quiet`` for how many seconds they had work and finished nothing.

    ``in_flight`` counts their samples under way, where these are taken one by one. ``busy_cpus`` is how many CPUs they kept
    busy lately, ``busy_gpus`` the share of time in which their GPUs computed; None where nobody tells.
    """

    memory: int = 0
    quiet: float = 0.0
    in_flight: int = 0
    busy_cpus: float | None = None
    busy_gpus: float | None = None
