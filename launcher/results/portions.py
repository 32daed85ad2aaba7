"""Portions: a result cut into neighbouring rows that fit into memory together, for whoever copies all of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jobs.storage.outputs import Column
from launcher.results.results import Results

# A portion has so many bytes at most (or one row), and rows.
_BYTES = 16 << 20
_ROWS = 65_536


@dataclass(frozen=True)
class Portion:
    """Rows from ``start`` on: their ids, status, and outputs by name, as columns."""

    start: int
    ids: np.ndarray
    status: np.ndarray
    columns: Mapping[str, Column]

    @property
    def stop(self) -> int:
        return self.start + len(self.status)

    @property
    def size(self) -> int:
        """Bytes of its outputs."""
        return sum(column.data.nbytes for column in self.columns.values())


def portions(results: Results, every: int | None = None) -> Iterator[Portion]:
    """All rows in order; with ``every``, one ends at each multiple of it."""
    start, rows = 0, len(results)
    while start < rows:
        most = min(start + _ROWS, rows, start - start % every + every if every else rows)
        stop = start + _fitting(results, start, most)
        yield _portion(results, start, stop)
        start = stop


def _fitting(results: Results, start: int, stop: int) -> int:
    """How many rows from ``start`` on are of one portion."""
    sizes = np.zeros(stop - start, np.int64)
    for name in results.outputs:
        output = results.output(name)
        lengths = results.table.ragged(name).lengths(start, stop) if output.ragged else 1
        sizes += lengths * output.item_bytes
    return max(int(np.searchsorted(np.cumsum(sizes), _BYTES, side="right")), 1)


def _portion(results: Results, start: int, stop: int) -> Portion:
    columns, table = {}, results.table
    for name in results.outputs:
        if results.output(name).ragged:
            items, bounds = table.ragged(name).rows(start, stop)
            columns[name] = Column(items, np.diff(bounds), results.output(name).encoding)
        else:
            columns[name] = Column(table.fixed(name)[start:stop])
    return Portion(start, table.ids(start, stop), table.status(start, stop), columns)
