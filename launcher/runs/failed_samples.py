"""FailedSamples: how many samples of a run failed, where and why, by the attempts that count.

The last beat of an attempt tells, for one all of whose rows count. Of others the commits are read: once, and then only
those that are new.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.storage.attempts import Ownership
from jobs.storage.journal import decode
from jobs.storage.records import Commits, FailedSample
from jobs.storage.sample_failures import FailureTally, SampleFailures
from jobs.storage.shard_table import ShardTable


class _Journal:
    """The failed samples in the commits of a journal, by row; read again, only what is new is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._found: dict[int, FailedSample] = {}

    def samples(self) -> Mapping[int, FailedSample]:
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    break
                self._read += len(line)
                self._take(line[:-1])
        return self._found

    def _take(self, line: bytes) -> None:
        # Only a commit with failed samples says whether it was split; most have none, and are not worth decoding.
        if b"false]" not in line and b"true]" not in line:
            return
        record = decode(line)
        if isinstance(record, Commits):
            self._found.update((sample.row, sample) for commit in record.commits for sample in commit.failed)


@dataclass(frozen=True)
class Counted:
    """Of the rows for which an attempt counts: failed samples, in all, by cause, and of shards that it had not to itself."""

    count: int
    causes: tuple[SampleFailures, ...]
    shared: Mapping[int, int]


class FailedSamples:
    """Asked again and again; it remembers what it has read."""

    def __init__(self, table: ShardTable) -> None:
        self._table = table
        self._journals: dict[str, _Journal] = {}
        self._counted: dict[str, tuple[Ownership, Counted]] = {}

    def count(self, owned: Ownership) -> Counted:
        """What the beat tells, or the commits."""
        beat, name = owned.attempt.beat, owned.attempt.name
        if owned.is_whole or not beat.failed:
            return Counted(beat.failed, beat.failures, beat.shared)
        known = self._counted.get(name)
        if known is None or known[0].attempt.beat != beat or known[0].rows != owned.rows:
            known = self._counted[name] = owned, self._read(owned)
        return known[1]

    def _read(self, owned: Ownership) -> Counted:
        tally, shards = FailureTally(), Counter[int]()
        samples = list(self.samples(owned))
        for sample in samples:
            shard = self._table.shard_at(sample.row)
            tally.add(sample.kind, sample.message, shard)
            shards[shard] += 1
        return Counted(len(samples), tally.groups(), shards)

    def samples(self, owned: Ownership) -> Iterator[FailedSample]:
        """The failed samples themselves, by their commits."""
        if not owned.attempt.beat.failed:
            return
        journal = self._journals.setdefault(owned.attempt.name, _Journal(owned.attempt.journal))
        yield from (sample for row, sample in journal.samples().items() if row in owned.rows)

    def rows(self, owners: Sequence[Ownership]) -> "FailedRows":
        """Where they are."""
        return FailedRows(sorted(sample.row for owned in owners for sample in self.samples(owned)))


class FailedRows:
    """The rows of failed samples."""

    def __init__(self, rows: Sequence[int]) -> None:
        """They ascend."""
        self._rows = rows

    def within(self, start: int, stop: int) -> int:
        """How many there are in ``[start, stop)``."""
        return bisect_left(self._rows, stop) - bisect_left(self._rows, start)
