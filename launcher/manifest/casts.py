"""Casts: a column as another type, with the same values or not at all."""

import pyarrow as pa

from launcher.manifest.fingerprint import fingerprint_of
from launcher.manifest.schema import is_printed, plain_type


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the schema's columns, order and types. ArrowInvalid where a value does not fit."""
    columns = [exactly(batch.column(field.name), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def exactly(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column with another type; ArrowInvalid where a value would be another one.

    To Arrow a date is any time of its day, and 0.1 a float32. So what it makes has to become the same column again.
    """
    if column.type == kind:
        return _cast(column, kind)
    own = _cast(column, plain_type(column.type))
    if own.type == kind:
        return exactly(own, kind)
    if own.null_count == len(own):
        return pa.nulls(len(own), kind)
    try:
        found = _cast(own, kind)
        same = _is_same(own, found)
    except pa.ArrowNotImplementedError as error:
        raise pa.ArrowInvalid(str(error)) from None
    if not same:
        raise pa.ArrowInvalid(f"some values are no {kind}")
    return found


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    # Even to its own type a column is cast by pyarrow.compute, whose import takes 70 ms. Equal types may still name the items
    # of their lists otherwise.
    if column.type.equals(kind, check_metadata=True):
        return column
    return _cast_in_parts(column, kind) if _has_nulls(column.type) or _has_nulls(kind) else column.cast(kind)


def _cast_in_parts(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Of fields of which nothing but null is known Arrow makes as many as the column has rows, and casts nothing to them."""
    types, own = pa.types, column.type
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    if types.is_list(kind) and (types.is_list(own) or types.is_large_list(own)):
        import pyarrow.compute as pc

        ends = pc.cumulative_sum(pc.list_value_length(column).fill_null(0)).cast(pa.int32())
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        items = _cast(column.flatten(), kind.value_type)
        return pa.ListArray.from_arrays(offsets, items, type=kind, mask=column.is_null())
    if types.is_struct(kind) and types.is_struct(own):
        parts = [
            _cast(column.field(field.name), field.type)
            if field.name in own.names
            else pa.nulls(len(column), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=column.is_null())
    return column.cast(kind)


def _has_nulls(kind: pa.DataType) -> bool:
    return pa.types.is_null(kind) or any(_has_nulls(kind.field(number).type) for number in range(kind.num_fields))


def _is_same(own: pa.Array, found: pa.Array) -> bool:
    """Whether what Arrow has made of a column has its values."""
    if pa.types.is_string(own.type) and is_printed(found.type):
        from launcher.manifest.csv_types import prints_back

        return prints_back(own, found.type)
    return _hash(_cast(found, own.type)) == _hash(own)


def _hash(column: pa.Array) -> str:
    """Of the values: NaN is the same as NaN."""
    return fingerprint_of(pa.RecordBatch.from_arrays([column], names=[""]))
