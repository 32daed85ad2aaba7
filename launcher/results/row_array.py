"""RowArray: an output of fixed length whose rows are not in one place, read as of an array, or of h5py's dataset."""

from collections.abc import Callable
from typing import Any

import numpy as np


class RowArray:
    """Of its first axis only the rows that are chosen are read, by ``read(start, stop)``."""

    def __init__(self, dtype: str, shape: tuple[int, ...], read: Callable[[int, int], np.ndarray]) -> None:
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self._read = read

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if not keys or keys[0] is Ellipsis:
            return self._read(0, len(self))[keys]
        chosen, *rest = keys
        return self._chosen(chosen, tuple(rest))

    def _chosen(self, chosen: Any, rest: tuple[Any, ...]) -> Any:
        if isinstance(chosen, slice):
            rows = range(len(self))[chosen]
            first, stop = (min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1) if rows else (0, 0)
            return self._read(first, stop)[(slice(None, None, rows.step), *rest)]
        if np.ndim(chosen) == 0 and not isinstance(chosen, bool | np.bool_):
            row = range(len(self))[chosen]
            return self._read(row, row + 1)[(0, *rest)]
        picked = picked_rows(chosen, len(self))
        found = np.empty((len(picked), *self.shape[1:]), self.dtype)
        for at, row in enumerate(picked):
            found[at] = self._read(row, row + 1)[0]
        return found[(np.arange(len(picked)), *rest)]  # with another list, pairs, as numpy has it


def picked_rows(chosen: Any, rows: int) -> list[int]:
    """Those of a mask, or of a list of ints, of so many rows. Raises IndexError where there are none such."""
    picked = np.asarray(chosen)
    if picked.dtype == bool:
        if picked.shape != (rows,):
            raise IndexError(f"a mask of shape {list(picked.shape)} does not fit {rows} rows")
        return [int(row) for row in np.flatnonzero(picked)]
    if picked.ndim != 1 or (len(picked) and picked.dtype.kind not in "iu"):
        raise IndexError(f"rows are chosen by a list of ints or a mask, not by {picked.dtype} {list(picked.shape)}")
    return [range(rows)[int(row)] for row in picked]
