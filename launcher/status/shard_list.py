"""ShardList: shards of a status, each with the array task that has it, or had it last: what ``status --shards`` shows."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from jobs.kinds import ShardState
from jobs.storage.attempts import Attempt
from jobs.storage.spans import Spans
from launcher.runs.shard_states import Shards, ShardStatus
from launcher.status.use import HEADS as USE_HEADS
from launcher.status.use import Use, use_of
from launcher.table import table_lines
from launcher.units import clock_time
from launcher.visible import on_one_line, short_line

if TYPE_CHECKING:
    from launcher.documents.status import ShardRowDocument

HEADS = ("shard", "state", "samples", "failed", "job id", "node", "elapsed", *USE_HEADS, "samples/s", "")
SHARD_COLUMNS = (
    "shard", "state", "samples", "ok", "failed", "job_id", "node", "attempt", "elapsed_seconds", "memory",
    "samples_per_second", "slow", "kind", "message", *(f.name for f in fields(Use) if f.name != "memory"),
)  # fmt: skip
_INDENT = "  "
_SPARE = ("CPUs", "GPUs", "memory", "elapsed")
_NUMBERS = {"shard", "samples", "failed", "elapsed", *USE_HEADS, "samples/s"}


@dataclass(frozen=True)
class ShardRow:
    """``attempt`` is of the array task that has the shard, with all that it has done: None where nobody began with it.

    ``is_slow``: that one does much less than others, finishes nothing, or has not written for long.
    """

    shard: ShardStatus
    attempt: Attempt | None = None
    is_live: bool = False
    is_slow: bool = False

    @property
    def job_id(self) -> str | None:
        return self.attempt.start.job_id if self.attempt and self.attempt.start else None

    @property
    def node(self) -> str | None:
        return self.attempt.host or None if self.attempt else None

    @property
    def use(self) -> Use:
        """What its array task takes, or took, of what it asked for."""
        return use_of(self.attempt, is_live=self.is_live) if self.attempt else Use()

    @property
    def elapsed(self) -> float | None:
        """Seconds since the array task began, or for which it ran."""
        if not (self.attempt and self.attempt.start):
            return None
        until = time.time() if self.is_live else max(self.attempt.beat.time, self.attempt.start.time)
        return max(0.0, until - self.attempt.start.time)

    def to_json(self) -> "ShardRowDocument":
        """An entry of ``launcher status --json --shards``."""
        beat = self.attempt.beat if self.attempt else None
        return {
            **self.shard.to_json(),
            "job_id": self.job_id,
            "node": self.node,
            "attempt": self.attempt.name if self.attempt else None,
            "elapsed_seconds": None if self.elapsed is None else round(self.elapsed, 1),
            **self.use.to_json(),
            "memory": self.use.memory if beat else None,
            "samples_per_second": round(beat.rate, 3) if beat else None,
            "slow": self.is_slow,
        }

    def words(self) -> tuple[str, ...]:
        """For a table."""
        shard, told = self.shard, self.to_json()
        why = f"{shard.failure.kind}: {short_line(shard.failure.message)}" if shard.failure else ""
        return (
            str(shard.shard.index),
            f"{shard.state}{', slow' if self.is_slow else ''}",
            f"{shard.ok + shard.failed}/{shard.shard.rows}",
            str(shard.failed or ""),
            on_one_line(self.job_id or ""),
            on_one_line(self.node or ""),
            "" if self.elapsed is None else clock_time(self.elapsed),
            *self.use.words(),
            f"{told['samples_per_second']:,.1f}" if told["samples_per_second"] else "",
            why,
        )


def shard_rows(shards: Shards, chosen: Iterable[int], slow: Collection[str]) -> Iterator[ShardRow]:
    """Of the shards with these numbers; ``slow`` are names of attempts."""
    by_shard = _by_shard(shards)
    for index in chosen:
        attempt = by_shard.get(index)
        is_live = attempt is not None and attempt.name in shards.live
        is_slow = is_live and attempt is not None and attempt.name in slow
        status = shards[index]
        yield ShardRow(status, attempt, is_live, is_slow and status.state is ShardState.RUNNING)


def _by_shard(shards: Shards) -> Mapping[int, Attempt]:
    """The last attempt that had some of a shard's rows; one that goes on comes after all others."""
    found: dict[int, Attempt] = {}
    for attempt in sorted(shards.attempts, key=lambda one: (one.name in shards.live, one.submission, _began(one))):
        claimed = Spans((held.start, held.stop) for held in attempt.beat.claims) - shards.closed
        for shard in shards.table.shards_in(claimed | attempt.beat.done).numbers:
            found[shard] = attempt
    return found


def _began(attempt: Attempt) -> float:
    return attempt.start.time if attempt.start else 0.0


def shard_lines(rows: Sequence[ShardRow], width: int | None = None) -> Iterator[str]:
    """A table of them; on a terminal of so many columns, what each takes is left out where there is no room for it."""
    room = width and width - len(_INDENT)
    lines = table_lines(HEADS, [row.words() for row in rows], right=_NUMBERS, width=room, spare=_SPARE)
    return (f"{_INDENT}{line}" for line in lines)
