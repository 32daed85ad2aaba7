"""Efficiency: what the attempts of a run took of what they were given, and what to ask for next time. Pure.

Made from the last beats of attempts; shown by status.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.storage.beats import Beat
from launcher.units import GIB, rough_time, short_size

if TYPE_CHECKING:
    from launcher.documents.status import EfficiencyDocument

# The next run's samples differ a little from this one's.
_MEMORY_MARGIN = 1.25
_TIME_MARGIN = 1.5
_SHORTAGE_FACTOR = 1.5
# Below this share of the CPUs given, fewer would do as well; above the other one, more may help.
_IDLE = 0.5
# Attempts that took less together, seconds, tell of starting and ending more than of the work.
_TELLING = 300.0


@dataclass(frozen=True)
class Efficiency:
    """Over all attempts that did something: bytes, CPUs, seconds; ``cpu_use`` and ``gpu_use`` are shares of what was given."""

    attempts: int
    memory_limit: int
    peak_memory: int
    cpus: int
    cpu_use: float
    gpu_use: float | None
    longest: float
    seconds: float
    samples_per_second: float

    @property
    def memory(self) -> int:
        """Bytes to ask for: the largest peak and a quarter more, in whole or half GiB."""
        step = GIB if self.peak_memory > 4 * GIB else GIB // 2
        return max(step, math.ceil(self.peak_memory * _MEMORY_MARGIN / step) * step)

    @property
    def is_memory_enough(self) -> bool:
        """Whether less was asked for than ``memory``, and it was enough all the same."""
        return self.peak_memory * _MEMORY_MARGIN <= self.memory_limit <= self.memory

    @property
    def minutes(self) -> int:
        """The time limit to ask for: the longest attempt and half more."""
        return max(1, math.ceil(self.longest * _TIME_MARGIN / 60))

    def advice(self, *, has_limits: bool, is_complete: bool) -> list[str]:
        """Recommendations, with their reasons; what to ask for only where array tasks are given limits.

        How busy they were is told of a run that went well, and not in a minute.
        """
        peak = f"peak {short_size(self.peak_memory)} of {short_size(self.memory_limit)}"
        memory = "" if self.is_memory_enough else f"mem {short_size(self.memory)} ({peak}) and "
        time = f"time {self.minutes} min (longest attempt {rough_time(self.longest)})"
        lines = [f"ask for {memory}{time}"][:has_limits]
        if not is_complete or self.seconds < _TELLING:
            return lines
        if self.cpus > 1 and self.cpu_use < _IDLE:
            used = max(1, math.ceil(self.cpu_use * self.cpus))
            lines.append(f"the CPUs were idle for {1 - self.cpu_use:.0%} of the time: {used} of {self.cpus} would do")
        if self.gpu_use is not None and self.gpu_use < _IDLE:
            lines.append(f"the GPUs computed {self.gpu_use:.0%} of the time: more pool workers may feed them better")
        return lines

    def to_json(self) -> "EfficiencyDocument":
        return {
            "attempts": self.attempts,
            "memory": {"asked": self.memory_limit, "peak": self.peak_memory, "recommended": self.memory},
            "cpus": {"asked": self.cpus, "use": round(self.cpu_use, 3)},
            "gpus": {"use": self.gpu_use},
            "minutes": {"longest": round(self.longest / 60, 2), "recommended": self.minutes},
            "samples_per_second_per_task": round(self.samples_per_second, 2),
        }


def summarise(beats: Iterable[Beat]) -> Efficiency | None:
    """The efficiency of attempts that did something; None where there is none."""
    known = [beat for beat in beats if beat.done and beat.seconds > 0 and beat.cpus]
    if not known:
        return None
    seconds = sum(beat.seconds for beat in known)
    gpus = [beat.gpu_use for beat in known if beat.gpu_use is not None]
    return Efficiency(
        attempts=len(known),
        memory_limit=max(beat.memory_limit for beat in known),
        peak_memory=max(beat.peak_memory for beat in known),
        cpus=max(beat.cpus for beat in known),
        cpu_use=sum(beat.cpu_seconds for beat in known) / sum(beat.seconds * beat.cpus for beat in known),
        gpu_use=sum(gpus) / len(gpus) if gpus else None,
        longest=max(beat.seconds for beat in known),
        seconds=seconds,
        samples_per_second=sum(beat.done.count for beat in known) / seconds,
    )


def more_memory(beats: Iterable[Beat]) -> tuple[str, str] | None:
    """(what to ask for, why) after attempts that ran out of memory; None where none of them left a word."""
    known = [beat for beat in beats if beat.memory_limit]
    if not known:
        return None
    # An attempt may use what was asked for less a tenth.
    asked = max(beat.memory_limit for beat in known) / 0.9
    peak = max(beat.peak_memory for beat in known)
    wanted = math.ceil(max(_SHORTAGE_FACTOR * asked, _MEMORY_MARGIN * peak) / GIB)
    return f"{wanted}G", f"peak was {short_size(peak)} of {short_size(round(asked))}"
