"""Feed: the batches of a claim on their way to the crew, some thousands at a time: a claim may have a million."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from jobs.node.messages import Batch
from jobs.storage.plans import Plan
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans


class Feed:
    """The batches that begin in ``rows``, ascending, before row ``stop``; or in another ``order``, where they are of one row.

    ``most`` is how many of a batch's samples are loaded and processed at a time (0: all).
    """

    def __init__(self, table: ShardTable, rows: Spans, order: Iterator[int] | None = None) -> None:
        self._batches = table.batches(rows) if order is None else ((row, row + 1) for row in order)
        self._first = None if order is None else rows.first if rows else 0
        self.stop = rows.stop if rows else 0
        self.most = 0
        self.is_empty = not rows

    @classmethod
    def of(cls, plan: Plan, manifest: Path, rows: Spans, slots: int, most: int = 0) -> "Feed":
        """Those of a plan: the longest samples first where it is known what they cost, and each is a batch.

        ``slots``: how many samples are at work at a time.
        """
        order, column = None, plan.config.get("data", {}).get("cost")
        if column is not None and plan.batch_size == 1:
            from jobs.storage.manifest_column import longest_first  # pyarrow, which few tasks need here

            order = longest_first(manifest, column, rows, slots)
        feed = cls(plan.table, rows, order)
        feed.most = most
        return feed

    def begun(self, next_row: int | None) -> int:
        """Before which row all are begun, if the next one to be dealt begins there (None: all that were taken are dealt)."""
        if next_row is None:
            return self.stop
        return next_row if self._first is None else self._first

    def cut(self, row: int) -> bool:
        """Leaves out what begins at this row or later; False where that is nothing new."""
        is_new, self.stop = row < self.stop, min(self.stop, row)
        return is_new

    def take(self, count: int, unwanted: Spans) -> list[Batch]:
        """The next ones, at most ``count``, without those in ``unwanted``."""
        taken = list(itertools.islice(self._batches, count))
        self.is_empty = len(taken) < count or (self._first is None and taken[-1][0] >= self.stop)
        if unwanted or self.is_empty or self._first is not None:
            taken = [pair for pair in taken if pair[0] < self.stop and pair[0] not in unwanted]
        return [Batch(start, stop, self.most) for start, stop in taken]
