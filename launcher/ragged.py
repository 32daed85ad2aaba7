"""Ragged: an output of variable length in an open result, as launcher.results gives it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

BLOCK = 65_536
"""Rows that are read at once."""


class Ragged(Sequence[Any]):
    """A variable-length output: row i is an array [length, *shape], a str or bytes. Values are read when asked for."""

    def __init__(self, group: "h5py.Group") -> None:
        self._values: h5py.Dataset = group["values"]
        self._encoding: str | None = group.attrs.get("encoding")
        self.offsets: np.ndarray = group["offsets"][()]
        """Where rows begin and end among the values: int64 [rows + 1]."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Items of each row, int64 [rows]; bytes where rows are strings."""
        return np.diff(self.offsets)

    @property
    def values(self) -> np.ndarray:
        """The items of all rows, end to end: [sum(lengths), *shape]; uint8 where rows are strings."""
        return np.asarray(self._values[()])

    def __getitem__(self, key: Any) -> Any:
        """One row for an int; a list of rows for a slice, a mask or a sequence of ints."""
        if isinstance(key, slice):
            rows = range(len(self))[key]
            return self._rows(rows) if len(rows) else []
        if np.ndim(key) == 0:
            row = range(len(self))[key]
            return self._rows(range(row, row + 1))[0]
        picked = np.asarray(key)
        if picked.ndim != 1 or (picked.dtype.kind not in "iub" and len(picked)):
            raise IndexError(f"rows are chosen by a list of ints or a mask, not by {picked.dtype} {list(picked.shape)}")
        if picked.dtype == bool and len(picked) != len(self):
            raise IndexError(f"a mask of {len(picked)} values does not fit {len(self)} rows")
        return [self[row] for row in (np.flatnonzero(picked) if picked.dtype == bool else picked).tolist()]

    def _rows(self, rows: range) -> list[Any]:
        first, last = min(rows), max(rows)
        start = self.offsets[first]
        items = self._values[start : self.offsets[last + 1]]
        bounds = self.offsets[first : last + 2] - start
        found = [items[bounds[row - first] : bounds[row - first + 1]] for row in rows]
        if self._encoding is None:
            return found
        text = [values.tobytes() for values in found]
        return text if self._encoding == "bytes" else [value.decode(self._encoding) for value in text]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]


def is_ragged(item: Any) -> bool:
    return "offsets" in item if hasattr(item, "keys") else False
