"""Committed: what the journals say of the rows of a run, batch by batch in manifest order. Read by gather and verify.

A row counts once a beat says that it is done. Of the attempts that have it done, the first counts whose commit is that of a
batch of the plan and accounts for each output, and whose bytes nobody has found to differ.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobs.gather.sources import Source
from jobs.storage.records import Commit
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans, union

# Commits that stay in memory between two passes over the journals (about 0.6 KB each, and so does a failed sample); more
# are read again.
KEPT_COMMITS = 20_000

_NO_COMMIT = ("journal",)


@dataclass(frozen=True, slots=True)
class Damage:
    """Rows ``[start, stop)`` of a shard of which something is not as committed: names of outputs, or "journal"."""

    shard: int
    start: int
    stop: int
    what: tuple[str, ...]

    def __str__(self) -> str:
        return f"shard {self.shard}, rows {self.start}-{self.stop - 1}: {', '.join(self.what)}"


class Stored(NamedTuple):
    """A batch as one attempt has it."""

    source: Source
    commit: Commit


@dataclass(frozen=True, slots=True)
class Unlike:
    """A batch of which these outputs (or the data file) are not as its attempt says."""

    stored: Stored
    what: tuple[str, ...]


class Committed:
    """Some rows of a run, as its journals were when first read; reading them again gives the same.

    ``closed`` are those that are done, as manifest rows. Rows of commits and damage count from ``first``, as in the
    result of a part.
    """

    def __init__(
        self, sources: Sequence[Source], table: ShardTable, rows: Spans, first: int = 0, shares: int = 1
    ) -> None:
        """``shares``: how many of these there are at a time, so that all together keep no more than one would."""
        self.closed = union(source.attempt.beat.done & rows for source in sources)
        self._rows = rows
        self.sources = sources
        self._table = table
        self._first = first
        self._room = KEPT_COMMITS // shares
        self._kept: list[Stored] | None = None
        self._excluded: set[tuple[int, int]] = set()
        self._unlike: dict[int, tuple[str, ...]] = {}

    @property
    def owners(self) -> Iterator[tuple[Source, Spans]]:
        """The attempts that count for some of the rows, and for which."""
        owned = ((source, source.owned & self._rows) for source in self.sources)
        return ((source, rows) for source, rows in owned if rows)

    @property
    def has_choice(self) -> bool:
        """Whether several attempts have done the same rows, so that results may differ and all be right."""
        return sum((source.attempt.beat.done & self._rows).count for source in self.sources) > self.closed.count

    def batches(self) -> Iterator[Stored]:
        """The batches that count, in row order."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Stored] = []
        room = self._room
        for stored in self._read():
            room -= 1 + len(stored.commit.failed)
            if room >= 0:
                kept.append(stored)
            else:
                kept.clear()
            yield stored
        if room >= 0:
            self._kept = kept

    def _read(self) -> Iterator[Stored]:
        owned = [(source, rows, source.stream(rows)) for source, rows in self.owners]
        segments = sorted((start, stop, at) for at, (_, rows, _) in enumerate(owned) for start, stop in rows)
        for start, stop, at in segments:
            source, _, stream = owned[at]
            for first, end in self._table.batches(Spans([(start, stop)])):
                commit = stream.take(first)
                if commit is None or not source.accounts_for(commit, end) or (source.rank, first) in self._excluded:
                    yield from itertools.islice(self.candidates(first, end), 1)
                else:
                    yield self._stored(source, commit)

    def candidates(self, start: int, stop: int) -> Iterator[Stored]:
        """The batch of manifest rows ``[start, stop)`` as all attempts have it that may count for it, the first first."""
        for source in self.sources:
            if start in source.attempt.beat.done and (source.rank, start) not in self._excluded:
                commit = source.find(start)
                if commit and source.accounts_for(commit, stop):
                    yield self._stored(source, commit)

    def _stored(self, source: Source, commit: Commit) -> Stored:
        return Stored(source, commit.counted_from(self._first) if self._first else commit)

    def others(self, stored: Stored) -> Iterator[Stored]:
        """The same batch as other attempts have it, those that count first coming first."""
        start, stop = stored.commit.start + self._first, stored.commit.stop + self._first
        return (other for other in self.candidates(start, stop) if other.source is not stored.source)

    def exclude(self, found: Iterable[Unlike]) -> None:
        """From now on these do not count."""
        for one in found:
            row = one.stored.commit.start + self._first
            self._excluded.add((one.stored.source.rank, row))
            self._unlike.setdefault(row, one.what)
        self._kept = None

    def damage(self, one: Unlike) -> Damage:
        """What is to be said of a batch that no attempt has intact."""
        commit = one.stored.commit
        return Damage(self._table.shard_at(commit.start + self._first), commit.start, commit.stop, one.what)

    def lost(self, start: int, stop: int) -> Iterator[Damage]:
        """What is closed of rows ``[start, stop)``, between two batches that count: no attempt has it intact."""
        for shard, first, end, what in self._lost_batches(start, stop):
            yield Damage(shard, first - self._first, end - self._first, what)

    def _lost_batches(self, start: int, stop: int) -> Iterator[tuple[int, int, int, tuple[str, ...]]]:
        rows = self.closed.within(start + self._first, stop + self._first)
        before: tuple[int, int, int, tuple[str, ...]] | None = None
        for first, end in self._table.batches(rows):
            shard, what = self._table.shard_at(first), self._unlike.get(first, _NO_COMMIT)
            if before and before[0] == shard and before[2] == first and before[3] == what == _NO_COMMIT:
                before = (shard, before[1], end, what)
                continue
            if before:
                yield before
            before = (shard, first, end, what)
        if before:
            yield before
