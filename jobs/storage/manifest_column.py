"""One column of manifest.arrow, a record batch at a time: ids, and what samples cost (data.cost)."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.storage.samples import BATCH_ROWS
from jobs.storage.spans import Spans

# Rows that are put into order together. More would not help: it is the last ones of a claim that must be short.
_WINDOW = BATCH_ROWS
# Costs are no more exact than that. Rows that cost about the same stay neighbours, which are loaded together.
_ABOUT = math.log(1.1)
# Of the time that all of them take together; what takes less may come at any time.
_SHORT = 0.02


def column_batches(manifest: Path, column: str, numbers: Iterable[int] | None = None) -> Iterator[pa.Array]:
    """The column in these record batches, or in all."""
    with pa.OSFile(str(manifest)) as file:
        index = pa.ipc.open_file(file).schema.get_field_index(column)
        reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=[index]))
        for number in range(reader.num_record_batches) if numbers is None else numbers:
            yield reader.get_batch(number).column(0)


def as_costs(column: pa.Array) -> npt.NDArray[np.float64]:
    """The values as float64; NaN for those that are missing or no numbers."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return np.array([_number(value) for value in column.to_pylist()], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return math.nan


def longest_first(manifest: Path, column: str, rows: Spans, slots: int) -> Iterator[int]:
    """These rows, those first that cost most, so that none is still at work when all others are through.

    ``slots``: how many are at work at a time. Short ones stay in the order of the manifest, and so do thousands that lie
    together at a time.
    """
    while rows:
        window = rows if rows.count < 2 * _WINDOW else rows.take(_WINDOW)
        yield from _ordered(manifest, column, window, slots).tolist()
        rows -= window


def _ordered(manifest: Path, column: str, rows: Spans, slots: int) -> npt.NDArray[np.int64]:
    numbers = np.concatenate([np.arange(start, stop) for start, stop in rows])
    batches, of = np.unique(numbers // BATCH_ROWS, return_inverse=True)
    costs = np.empty(len(numbers))
    for place, values in enumerate(column_batches(manifest, column, batches.tolist())):
        chosen = of == place
        costs[chosen] = as_costs(values)[numbers[chosen] % BATCH_ROWS]
    short = max(float(costs.sum()) / slots * _SHORT, np.finfo(float).tiny)
    sizes = np.floor(np.log(np.maximum(costs, short) / short) / _ABOUT)
    return numbers[np.argsort(-sizes, kind="stable")]
