"""Use: what array tasks take of what they asked for: CPUs, memory, GPUs. Pure, of their starts and beats."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.storage.attempts import Attempt
from launcher.units import short_size

if TYPE_CHECKING:
    from launcher.documents.status import AllUseDocument

HEADS = ("CPUs", "memory", "GPUs")


@dataclass(frozen=True)
class Use:
    """``cpus`` and ``gpus`` are how many are kept busy, None where nobody tells; ``memory`` is in bytes.

    What was asked for is 0 where it is not known.
    """

    cpus: float | None = None
    cpus_asked: int = 0
    memory: int = 0
    memory_asked: int = 0
    gpus: float | None = None
    gpus_asked: int = 0

    def words(self) -> tuple[str, str, str]:
        """For a table: ``1.9 of 4``, ``3.0G of 8.0G``, ``87% of 2``; nothing where nothing is known."""
        share = f"{self.gpus / self.gpus_asked:.0%}" if self.gpus is not None and self.gpus_asked else ""
        return (
            _of("" if self.cpus is None else f"{self.cpus:.1f}", self.cpus_asked, str),
            _of(short_size(self.memory) if self.memory else "", self.memory_asked, short_size),
            _of(share, self.gpus_asked, str),
        )

    @property
    def line(self) -> str:
        """``CPUs 1.9 of 4, memory 3.0G of 8.0G, GPUs 87% of 2``; what is not known is left out."""
        return ", ".join(f"{head} {words}" for head, words in zip(HEADS, self.words(), strict=True) if words)

    def to_json(self) -> "AllUseDocument":
        return {
            "cpus": None if self.cpus is None else round(self.cpus, 2),
            "cpus_asked": self.cpus_asked,
            "memory": self.memory,
            "memory_asked": self.memory_asked,
            "gpus": None if self.gpus is None else round(self.gpus, 2),
            "gpus_asked": self.gpus_asked,
        }


def _of(taken: str, asked: int, word: Callable[[int], str]) -> str:
    return f"{taken or '?'} of {word(asked)}" if asked else taken


def use_of(attempt: Attempt, *, is_live: bool = True) -> Use:
    """Lately; of one that has ended, over all its time, and its memory at the peak."""
    start, beat = attempt.start, attempt.beat
    if start is None:
        return Use()
    asked = {"cpus_asked": start.cpus, "memory_asked": start.memory, "gpus_asked": start.gpus}
    cpus, gpus, memory = beat.busy_cpus, beat.busy_gpus, beat.memory
    if not is_live:
        cpus = beat.cpu_seconds / beat.seconds if beat.seconds else None
        gpus, memory = beat.gpu_use, beat.peak_memory
    return Use(cpus, memory=memory, gpus=None if gpus is None else gpus * start.gpus, **asked)


def together(uses: Iterable[Use]) -> Use:
    """Of several array tasks: what is known of some is the sum of these, what was asked for has to be known of all."""
    found = list(uses)
    return Use(
        _known_sum([one.cpus for one in found]),
        _whole_sum([one.cpus_asked for one in found]),
        sum(one.memory for one in found),
        _whole_sum([one.memory_asked for one in found]),
        _known_sum([one.gpus for one in found]),
        sum(one.gpus_asked for one in found),
    )


def _known_sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _whole_sum(values: Sequence[int]) -> int:
    return sum(values) if all(values) else 0
