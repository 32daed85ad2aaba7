"""Counts: sums of the outputs that a Job counts (``Job.counts``: tokens), of which the status of its run tells."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.storage.outputs import Column, Columns

Counts = tuple[tuple[str, float], ...]
"""(output, its sum), of one commit."""


def of_batch(columns: Columns, names: Sequence[str]) -> Counts:
    """Over all rows, but for those that failed: they have nothing, or NaN."""
    return tuple((name, _sums(columns[name]).sum().item()) for name in names if _is_counted(columns, name))


def of_rows(columns: Columns, names: Sequence[str]) -> list[Counts]:
    """Of each row."""
    found = [
        [(name, number) for number in _sums(columns[name]).tolist()] for name in names if _is_counted(columns, name)
    ]
    rows = next(iter(columns.values())).rows
    return list(zip(*found, strict=True)) if found else [()] * rows


def _is_counted(columns: Columns, name: str) -> bool:
    """Numbers are, and lists of them by their lengths; text is not."""
    column = columns.get(name)
    return column is not None and column.encoding is None and column.data.dtype.kind in "biuf"


def _sums(column: Column) -> npt.NDArray[np.generic]:
    if column.lengths is not None:
        return column.lengths
    rows = column.data.reshape(column.rows, -1)
    sums: npt.NDArray[np.generic] = np.nansum(rows, axis=1, dtype=np.float64 if rows.dtype.kind == "f" else np.int64)
    return sums
