"""Bill: what the array tasks of a run were given, what they took of it, and what that costs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.runs.history import History

_HOUR = 3600.0
_KILOWATT_HOUR = 3.6e6


@dataclass(frozen=True)
class Prices:
    """Of an hour of a CPU, and of a GPU; None: not known."""

    cpu_hour: float | None = None
    gpu_hour: float | None = None
    currency: str = ""


@dataclass(frozen=True)
class Bill:
    """Hours as they were allocated, ``used`` those in which CPUs computed; ``energy`` of GPUs in kWh.

    What attempts took they tell at their end, so not those that go on or were killed: ``told`` of ``attempts`` did.
    ``gpu_memory`` is the most that a GPU had in use, and what that has, bytes. ``repeated``: samples that several attempts did.
    """

    attempts: int
    told: int
    cpu_hours: float
    cpu_hours_used: float
    gpu_hours: float
    energy: float | None
    gpu_memory: tuple[int, int] | None
    repeated: int
    price: float | None
    currency: str


def make_bill(histories: Sequence[History], closed: int, prices: Prices) -> Bill:
    """``closed``: how many rows are done."""
    beats = [one.attempt.beat for one in histories]
    cpu_hours = sum(one.seconds * _cpus(one) for one in histories) / _HOUR
    gpu_hours = sum(one.seconds * _gpus(one) for one in histories) / _HOUR
    joules = [beat.energy for beat in beats if beat.energy is not None]
    memory = max(((beat.gpu_memory, beat.gpu_memory_limit) for beat in beats), default=(0, 0))
    known = [
        hours * price
        for hours, price in ((cpu_hours, prices.cpu_hour), (gpu_hours, prices.gpu_hour))
        if price is not None
    ]
    return Bill(
        attempts=len(histories),
        told=sum(beat.end is not None for beat in beats),
        cpu_hours=cpu_hours,
        cpu_hours_used=sum(beat.cpu_seconds for beat in beats) / _HOUR,
        gpu_hours=gpu_hours,
        energy=sum(joules) / _KILOWATT_HOUR if joules else None,
        gpu_memory=memory if memory[1] else None,
        repeated=max(0, sum(beat.done.count for beat in beats) - closed),
        price=sum(known) if known else None,
        currency=prices.currency,
    )


def _cpus(history: History) -> int:
    start = history.attempt.start
    return history.attempt.beat.cpus or (start.cpus if start else 0)


def _gpus(history: History) -> int:
    """Those that it had; of an older version, which did not tell, those that its processes computed on."""
    start = history.attempt.start
    return (start.gpus or len({one for one in start.devices if one.startswith("cuda")})) if start else 0
