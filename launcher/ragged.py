"""Ragged: an output of variable length in an open result, as launcher.results gives it."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.errors import RunError

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

    def __reduce__(self) -> "tuple[Callable[..., Ragged], tuple[str, str, float | None]]":
        """In another process it reads the same file, which is opened there."""
        file = self._values.file
        return reopen, (os.path.abspath(file.filename), self._values.parent.name, gathered_at(file))

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
        if isinstance(key, tuple):  # of an array it would be a row, and an item in it
            raise IndexError(f"[{', '.join(map(str, key))}]: rows are of different lengths; write [row][item]")
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


def gathered_at(file: "h5py.File") -> float | None:
    """When a result was made; another one in its place has another time."""
    found: float | None = json.loads(file.attrs["provenance"]).get("gathered")
    return found


def reopen(path: str, name: str, gathered: float | None) -> Ragged:
    """Raises RunError where the result has been made again since."""
    import h5py

    file = h5py.File(path, "r", locking=False)
    if gathered_at(file) != gathered:
        raise RunError(f"{path}: was gathered again since it was opened: open it anew")
    return Ragged(file[name])


def is_ragged(item: Any) -> bool:
    return "offsets" in item if hasattr(item, "keys") else False
