"""ShardTable: how a plan cuts its rows into shards, and these into batches. Pure.

Rows are what submissions, claims and beats count in; whoever cuts them cuts at the first row of a batch.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jobs.storage.spans import Range, Spans


@dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous range of manifest rows ``[start, stop)``."""

    index: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


def no_shard(index: int, count: int) -> str:
    """What is told of a shard that a run of so many shards does not have."""
    return f"there is no shard {index}; the run has {f'shards 0-{count - 1}' if count > 1 else 'shard 0 alone'}"


class ShardTable:
    """``boundaries`` are the shards' first rows and, last, the number of rows; batches begin anew in each shard."""

    def __init__(self, boundaries: Sequence[int], batch_size: int) -> None:
        self._rows = boundaries
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._rows) - 1

    def rows_of(self, shards: Iterable[int]) -> Spans:
        """All rows of these shards."""
        return Spans((self._rows[shard], self._rows[shard + 1]) for shard in shards)

    def shard_at(self, row: int) -> int:
        """The shard that holds a row."""
        return bisect_right(self._rows, row) - 1

    def batch_at(self, row: int) -> Range:
        """The rows ``[start, stop)`` of the batch that holds a row."""
        shard = self.shard_at(row)
        first = self._rows[shard]
        start = first + (row - first) // self._batch_size * self._batch_size
        return start, min(start + self._batch_size, self._rows[shard + 1])

    def batches(self, rows: Spans) -> Iterator[Range]:
        """The batches that begin in these rows, ascending: always the same ones for the same plan."""
        for start, stop in rows:
            while start < stop:
                shard_stop = self._rows[self.shard_at(start) + 1]
                for first in range(start, min(stop, shard_stop), self._batch_size):
                    yield first, min(first + self._batch_size, shard_stop)
                start = shard_stop

    def shards_in(self, rows: Spans) -> Spans:
        """The shards that have a row among these."""
        return Spans((self.shard_at(start), self.shard_at(stop - 1) + 1) for start, stop in rows)

    def whole_shards(self, rows: Spans) -> Spans:
        """The shards all of whose rows are among these."""
        return Spans((bisect_left(self._rows, start), self.shard_at(stop)) for start, stop in rows)

    def whole_batches(self, rows: Spans) -> Spans:
        """All rows of the batches that have some of these."""
        return Spans((self.batch_at(start)[0], self.batch_at(stop - 1)[1]) for start, stop in rows)
