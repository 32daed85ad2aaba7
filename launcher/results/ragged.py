"""Ragged: an output of variable length in an open result, as launcher.results gives it."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from jobs.storage.ragged_rows import row_values
from launcher.results.row_array import picked_rows
from launcher.results.table import Items

BLOCK = 65_536
"""Rows that are read at once."""


class Ragged(Sequence[Any]):
    """A variable-length output: row i is an array [length, *shape], a str or bytes. Values are read when asked for."""

    def __init__(self, items: Items) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where rows begin and end among the values: int64 [rows + 1]."""
        return self._items.offsets()

    @property
    def lengths(self) -> np.ndarray:
        """Items of each row, int64 [rows]; bytes where rows are strings."""
        return np.diff(self.offsets)

    @property
    def values(self) -> np.ndarray:
        """The items of all rows, end to end: [sum(lengths), *shape]; uint8 where rows are strings."""
        return self._items.values()

    def __getitem__(self, key: Any) -> Any:
        """One row for an int; a list of rows for a slice, a mask or a sequence of ints."""
        if isinstance(key, tuple):  # of an array it would be a row, and an item in it
            raise IndexError(f"[{', '.join(map(str, key))}]: rows are of different lengths; write [row][item]")
        if isinstance(key, slice):
            rows = range(len(self))[key]
            return self._rows(rows) if len(rows) else []
        if np.ndim(key) == 0:
            row = range(len(self))[key]
            return self._rows(range(row, row + 1))[0]
        return [self[row] for row in picked_rows(key, len(self))]

    def _rows(self, rows: range) -> list[Any]:
        first, last = min(rows[0], rows[-1]), max(rows[0], rows[-1])  # those of a range, without a walk through it
        items, bounds = self._items.rows(first, last + 1)
        ends = bounds.tolist()
        return row_values(items, ((ends[row - first], ends[row - first + 1]) for row in rows), self._items.encoding)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]
