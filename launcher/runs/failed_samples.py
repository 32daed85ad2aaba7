"""FailedSamples: how many samples of a run failed, where and why, by the attempts that count.

The last beat of an attempt tells, for one all of whose rows count. Of others the commits are read: once, and then only
those that are new. What is kept of a sample is its row and the number of its cause.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.kinds import SampleFailureKind, Unknown
from jobs.storage.attempts import Ownership, failed_lines
from jobs.storage.records import FailedSample
from jobs.storage.sample_failures import OTHER_MESSAGES, FailureTally, SampleFailures, normalise
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans

_MOST_CAUSES = 1000

_Cause = tuple[SampleFailureKind | Unknown, str]


class _Journal:
    """The failed samples in the commits of a journal; read again, only what is new is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rows = array("q")
        self._causes = array("H")
        self._known: list[_Cause] = []
        self._numbers: dict[_Cause, int] = {}

    def samples(self) -> Iterator[tuple[int, _Cause]]:
        """The row of each, with its kind and the message of one that failed alike."""
        for end, samples in failed_lines(self._path, self._read):
            self._read = end
            for sample in samples:
                self._rows.append(sample.row)
                self._causes.append(self._number(sample))
        return zip(self._rows, map(self._known.__getitem__, self._causes), strict=True)

    def _number(self, sample: FailedSample) -> int:
        alike, example = (sample.kind, normalise(sample.message)), sample.message
        if alike not in self._numbers and len(self._numbers) >= _MOST_CAUSES:
            alike, example = (sample.kind, OTHER_MESSAGES), OTHER_MESSAGES
        number = self._numbers.setdefault(alike, len(self._known))
        if number == len(self._known):
            self._known.append((sample.kind, example))
        return number


@dataclass(frozen=True)
class FailedCounts:
    """Of the rows for which an attempt counts: failed samples, in all, by cause, and of shards that it does not judge alone."""

    count: int
    causes: tuple[SampleFailures, ...]
    shared: Mapping[int, int]


class FailedSamples:
    """Asked again and again; it remembers what it has read."""

    def __init__(self, table: ShardTable) -> None:
        self._table = table
        self._journals: dict[str, _Journal] = {}
        self._counted: dict[str, tuple[Ownership, FailedCounts]] = {}

    def count(self, owned: Ownership) -> FailedCounts:
        """What the beat tells, or the commits."""
        beat, name = owned.attempt.beat, owned.attempt.name
        if owned.is_whole or not beat.failed:
            return FailedCounts(beat.failed, beat.failures, beat.shared)
        known = self._counted.get(name)
        if known is None or known[0].attempt.beat != beat or known[0].rows != owned.rows:
            known = self._counted[name] = owned, self._read(owned)
        return known[1]

    def _read(self, owned: Ownership) -> FailedCounts:
        tally, shared, count = FailureTally(), Counter[int](), 0
        alone = self._table.whole_shards(owned.rows)
        for row, (kind, message) in self._samples(owned):
            shard = self._table.shard_at(row)
            tally.add(kind, message, row, shard)
            count += 1
            if shard not in alone or shard in owned.attempt.beat.shared:
                shared[shard] += 1
        return FailedCounts(count, tally.groups(), shared)

    def _samples(self, owned: Ownership) -> Iterator[tuple[int, _Cause]]:
        """The row and the cause of each, by the attempt's commits."""
        if not owned.attempt.beat.failed:
            return
        journal = self._journals.setdefault(owned.attempt.name, _Journal(owned.attempt.journal))
        yield from (found for found in journal.samples() if found[0] in owned.rows)

    def rows(self, owners: Sequence[Ownership]) -> "FailedRows":
        """Where they are."""
        return FailedRows(array("q", sorted(row for owned in owners for row, _ in self._samples(owned))))


class FailedRows:
    """The rows of failed samples."""

    def __init__(self, rows: Sequence[int]) -> None:
        """They ascend."""
        self._rows = rows

    @property
    def spans(self) -> Spans:
        return Spans.of_numbers(self._rows)

    def within(self, start: int, stop: int) -> int:
        """How many there are in ``[start, stop)``."""
        return bisect_left(self._rows, stop) - bisect_left(self._rows, start)
