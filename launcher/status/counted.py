"""Counted: what the attempts of a run tell beside samples: those in flight, sums of outputs that its Job counts (tokens)."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.runs.shard_states import Shards
from launcher.runs.submissions import SubmissionState
from launcher.status.rate import seconds_of

if TYPE_CHECKING:
    from launcher.documents.status import CountDocument


@dataclass(frozen=True)
class Counted:
    """``sums`` are those of all attempts, ``rates`` those of the newest submission's, a second."""

    in_flight: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def words(self) -> Iterator[str]:
        """While the run goes on."""
        for name, rate in self.rates.items():
            yield f"{rate:,.1f} {name}/s"
        if self.in_flight:
            yield f"{self.in_flight:,} in flight"

    def to_json(self) -> "dict[str, CountDocument]":
        """The sums, and how fast they grow."""
        rates = {name: round(rate, 3) for name, rate in self.rates.items() if rate}
        return {name: {"total": total, "per_second": rates.get(name)} for name, total in self.sums.items()}


def counted(shards: Shards, newest: SubmissionState | None) -> Counted:
    """By the beats of the attempts; rows that two of them did count twice."""
    sums: Counter[str] = Counter()
    recent: Counter[str] = Counter()
    for attempt in shards.attempts:
        sums.update(attempt.beat.counts)
        if newest and attempt.submission == newest.number:
            recent.update(attempt.beat.counts)
    for found in (sums, recent):
        for name in [name for name, number in found.items() if not math.isfinite(number)]:
            del found[name]  # JSON has no such number
    seconds = seconds_of(shards, newest) if newest else 0.0
    in_flight = sum(one.beat.in_flight for one in shards.attempts if one.name in shards.live)
    return Counted(in_flight, dict(sums), {name: total / seconds for name, total in recent.items()} if seconds else {})
