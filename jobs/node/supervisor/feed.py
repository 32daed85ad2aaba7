"""Feed: the batches of a claim on their way to the crew, some thousands at a time: a claim may have a million."""

import itertools

from jobs.node.messages import Batch
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans


class Feed:
    """The batches that begin in ``rows``, ascending, before row ``stop``.

    ``most`` is how many of a batch's samples are loaded and processed at a time (0: all).
    """

    def __init__(self, table: ShardTable, rows: Spans) -> None:
        self._batches = table.batches(rows)
        self.stop = rows.stop if rows else 0
        self.most = 0
        self.is_empty = not rows

    def cut(self, row: int) -> bool:
        """Leaves out what begins at this row or later; False where that is nothing new."""
        is_new, self.stop = row < self.stop, min(self.stop, row)
        return is_new

    def take(self, count: int, unwanted: Spans) -> list[Batch]:
        """The next ones, at most ``count``, without those in ``unwanted``."""
        taken = list(itertools.islice(self._batches, count))
        self.is_empty = len(taken) < count or taken[-1][0] >= self.stop
        if unwanted or self.is_empty:
            taken = [pair for pair in taken if pair[0] < self.stop and pair[0] not in unwanted]
        return [Batch(start, stop, self.most) for start, stop in taken]
