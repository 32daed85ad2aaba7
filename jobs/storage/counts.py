"""Counts: sums of the outputs that a Job counts (``Job.counts``: tokens), of which the status of its run tells."""

import math
from collections.abc import Sequence

import numpy as np

from jobs.storage.outputs import Column, Columns

Counts = tuple[tuple[str, float], ...]
"""(output, its sum), of one commit."""


def of_batch(columns: Columns, names: Sequence[str]) -> Counts:
    """Over all rows, but for those that failed: they have nothing, or NaN. What has no finite sum is not counted."""
    sums = [(name, sum(_sums(columns[name]))) for name in names if _is_counted(columns, name)]
    return tuple((name, number) for name, number in sums if math.isfinite(number))


def of_rows(columns: Columns, names: Sequence[str]) -> list[Counts]:
    """Of each row."""
    counted = [name for name in names if _is_counted(columns, name)]
    rows = next(iter(columns.values())).rows
    if not counted:
        return [()] * rows
    sums = zip(*(_sums(columns[name]) for name in counted), strict=True)
    return [
        tuple((name, number) for name, number in zip(counted, row, strict=True) if math.isfinite(number))
        for row in sums
    ]


def _is_counted(columns: Columns, name: str) -> bool:
    """Numbers are, and lists of them by their lengths; text is not."""
    column = columns.get(name)
    return column is not None and column.encoding is None and column.data.dtype.kind in "biuf"


def _sums(column: Column) -> list[float]:
    """Of each row; whole numbers are exact however large they get."""
    if column.lengths is not None:
        return list(column.lengths.tolist())
    rows = column.data.reshape(column.rows, -1)
    if rows.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            return list(np.asarray(np.nansum(rows, axis=1, dtype=np.float64)).tolist())
    if rows.dtype.itemsize < 8:
        return list(rows.sum(axis=1, dtype=np.int64).tolist())
    low, high = rows & 0xFFFFFFFF, rows >> 32  # sums of 2^31 of these fit into 64 bits
    return [
        above * 2**32 + below for above, below in zip(high.sum(axis=1).tolist(), low.sum(axis=1).tolist(), strict=True)
    ]
