"""Arrow: portions of a result as record batches, for the formats that Arrow writes."""

import json

import numpy as np
import pyarrow as pa

from jobs.errors import InputError
from jobs.storage.outputs import Column
from jobs.storage.ragged_rows import row_bounds
from jobs.storage.records import Output
from launcher.export.writer import Contents
from launcher.results.portions import Portion

METADATA = b"launcher"
"""The schema's metadata has the facts of an export under this key, as JSON."""
_MOST_ITEMS = np.iinfo(np.int32).max


def schema(contents: Contents) -> pa.Schema:
    """Raises InputError for numbers that Arrow does not know."""
    ids = pa.string() if contents.ids_are_text else pa.int64()
    fields = [("id", ids), ("status", pa.uint8())]
    fields += [(output.name, _type(output)) for output in contents.outputs]
    return pa.schema(fields, {METADATA: json.dumps(contents.facts).encode()})


def _type(output: Output) -> pa.DataType:
    if output.encoding:
        return pa.string() if output.encoding == "utf-8" else pa.binary()
    dtype = np.dtype(output.dtype)
    if 0 in output.shape:
        raise InputError(
            f"output {output.name!r} has rows of no numbers, which Arrow has no list for; valid: --format numpy"
        )
    try:
        found = pa.from_numpy_dtype(dtype)
    except (pa.ArrowNotImplementedError, TypeError) as error:
        raise InputError(
            f"output {output.name!r} is of {dtype}, which Arrow does not know; valid: --format numpy, "
            "or zarr for all but long doubles"
        ) from error
    for size in reversed(output.shape):
        found = pa.list_(found, size)
    return pa.list_(found) if output.ragged else found


def record_batch(portion: Portion, wanted: pa.Schema) -> pa.RecordBatch:
    """Raises InputError where a row of a list or text is longer than Arrow's lists."""
    ids = pa.array(portion.ids, wanted.field("id").type)
    columns = [_array(wanted.field(name).type, name, column) for name, column in portion.columns.items()]
    return pa.record_batch([ids, pa.array(portion.status), *columns], schema=wanted)


def _array(kind: pa.DataType, name: str, column: Column) -> pa.Array:
    if column.lengths is None:
        return _nested(kind, column.data)
    offsets = row_bounds(column.lengths)
    if offsets[-1] > _MOST_ITEMS:
        raise InputError(
            f"output {name!r} has a row of {column.lengths.max():,} items; Arrow's lists have {_MOST_ITEMS:,}"
        )
    ends = pa.py_buffer(offsets.astype(np.int32))
    if column.encoding:
        return pa.Array.from_buffers(kind, column.rows, [None, ends, pa.py_buffer(column.data)])
    return pa.Array.from_buffers(kind, column.rows, [None, ends], children=[_nested(kind.value_type, column.data)])


def _nested(kind: pa.DataType, values: np.ndarray) -> pa.Array:
    """Rows of numbers, or of lists of a fixed size, of lists of a fixed size ..."""
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    inner = _nested(kind.value_type, values.reshape(len(values) * values.shape[1], *values.shape[2:]))
    return pa.Array.from_buffers(kind, len(values), [None], children=[inner])
