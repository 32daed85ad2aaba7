"""Samples of a script or notebook: a DataFrame, an Arrow table, rows one after another -> an Arrow file, for data.manifest.

Each cell has to be a plain value, as those of a manifest are.
"""

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from jobs.errors import InputError, a_type
from jobs.storage.samples import BATCH_ROWS
from launcher.manifest.casts import exactly
from launcher.python.same_values import check_same

VALUE = "value"
"""The column of samples that are no mappings."""

Samples: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any] | Any"
# What Arrow raises of a value that it has no type for, or another one than of those before.
_UNFIT = (pa.ArrowException, OverflowError, ValueError, TypeError)
_VALID = "text, numbers, true and false, None, bytes, dates and times, paths, and lists and mappings of these"


def is_place(samples: object) -> bool:
    """Whether they are what data.manifest says: a path or pattern, or manifests by their names."""
    return isinstance(samples, str | os.PathLike | Mapping)


def are_values(samples: object) -> bool:
    """Whether each is a value, not a row of named ones: as far as that shows without looking at them."""
    return not is_place(samples) and not _is_table(samples)


def looked_at(rows: Any) -> tuple[Any, Any]:
    """The rows, and the first of them; what is no iterable is told where it is written."""
    if not isinstance(rows, Iterable):
        return rows, None
    again, ahead = iter(rows), list[Any]()
    ahead += itertools.islice(again, 1)
    return itertools.chain(ahead, again), next(iter(ahead), None)


def has_names(row: Any) -> bool:
    """Whether a row is a mapping, or an object with names for its values."""
    return _as_mapping(row) is not None


def _is_table(samples: object) -> bool:
    return (
        isinstance(samples, pa.Table | pa.RecordBatch) or _is_pandas(samples) or hasattr(samples, "__arrow_c_stream__")
    )


def _is_pandas(samples: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(samples, pandas.DataFrame)


def unseen_index(samples: object) -> list[str]:
    """A note where a DataFrame has an index that somebody gave it: no sample has that."""
    if not _is_pandas(samples) or (samples.index.names == [None] and samples.index.dtype.kind in "iu"):  # type: ignore[attr-defined]
        return []
    return ["the index of the DataFrame is in no sample; as a column: samples.reset_index()"]


def write(samples: Any, path: Path) -> None:
    """Writes them as an Arrow file. Raises InputError, with row and column, for what a manifest cannot hold."""
    batches = list(_batches(samples))
    if not batches:
        raise InputError("samples: there are none; a run needs at least one")
    try:
        schema = _unified([batch.schema.remove_metadata() for batch in batches])
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in batches:
                writer.write_table(_with_columns(batch, schema), max_chunksize=BATCH_ROWS)
    except pa.ArrowException as error:  # also of a number that is not a whole float
        raise InputError(f"samples: the values of a column are of types that do not go together: {error}") from None


def _unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Raises ArrowTypeError where types do not go together; text and bytes do not, though Arrow makes bytes of both."""
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    for one in schemas:
        for own in one:
            if _is_text(own.type) and not _is_text(schema.field(own.name).type):
                raise pa.ArrowTypeError(f"{own.name}: {own.type} and {schema.field(own.name).type}")
    return schema


def _is_text(kind: pa.DataType) -> bool:
    return any(word in str(kind) for word in ("string", "utf8"))  # also in a list or mapping


def _with_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    own = set(batch.schema.names)
    columns = [
        exactly(batch.column(f.name), f.type) if f.name in own else pa.nulls(batch.num_rows, f.type) for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _batches(samples: Any) -> Iterator[pa.RecordBatch]:
    if _is_pandas(samples):
        names = [str(name) for name in samples.columns]
        _refuse_twice(names)
        columns = [_from_series(name, samples.iloc[:, at]) for at, name in enumerate(names)]
        yield from pa.Table.from_arrays(columns, names).to_batches()
    elif _is_table(samples):
        yield from _as_table(samples).to_batches()
    elif isinstance(samples, Iterable):
        rows, are_values = iter(samples), None
        for first in itertools.count(0, BATCH_ROWS):
            if not (piece := list(itertools.islice(rows, BATCH_ROWS))):
                return
            if are_values is None:
                are_values = _as_mapping(piece[0]) is None
            yield _from_rows(piece, first, are_values)
    else:
        raise InputError(
            f"samples: {a_type(samples)} is not valid; valid: a path or pattern, a DataFrame, an Arrow table, or an "
            "iterable of mappings or values"
        )


def _as_table(samples: Any) -> pa.Table:
    """Categories as the values that they are: those of one piece may be others than those of the next."""
    try:
        table = pa.Table.from_batches([samples]) if isinstance(samples, pa.RecordBatch) else pa.table(samples)
    except _UNFIT as error:
        raise InputError(
            f"samples: {a_type(samples)} is no table: {error}; for its values: samples.to_pylist()"
        ) from None
    _refuse_twice(table.column_names)
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, table.column_names)


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"samples: two columns have the name {twice!r} (names are text): give one of them another")


def _from_rows(rows: Sequence[Any], first: int, are_values: bool) -> pa.RecordBatch:
    found = [_as_mapping(row) for row in rows]
    for number, row in enumerate(found, start=first):
        if (row is None) is not are_values or not all(isinstance(name, str) for name in row or ()):
            what = "a mapping, and others are values" if are_values else "no mapping of names to values, as others are"
            raise InputError(f"samples: row {number}: {_shown(rows[number - first])} is {what}")
        if row is not None and not row:
            raise InputError(f"samples: row {number}: a mapping that is empty is no sample")
    if are_values:
        return pa.record_batch({VALUE: _column(VALUE, rows, first)})
    names = dict.fromkeys(name for row in found if row is not None for name in row)
    columns = {name: _column(name, [row.get(name) for row in found if row is not None], first) for name in names}
    return pa.record_batch(columns)


def _as_mapping(row: Any) -> Mapping[str, Any] | None:
    if isinstance(row, Mapping):
        return row
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {one.name: getattr(row, one.name) for one in dataclasses.fields(row)}
    return row._asdict() if hasattr(row, "_asdict") else None


def _column(name: str, values: Sequence[Any], first: int, *, from_pandas: bool = False) -> pa.Array:
    try:
        found = pa.array(map(_plain, values), from_pandas=from_pandas, size=len(values))
        check_same(name, values, found, first)
        return found
    except _UNFIT as error:
        row = _first_wrong(values)
        raise InputError(
            f"samples: row {first + row}, column {name!r}: {_shown(values[row])} is no plain value, or of another type than "
            f"those before it ({error}); valid: {_VALID}, one type in a column"
        ) from None


def _from_series(name: str, series: Any) -> pa.Array:
    """As Arrow knows it; one by one where that holds objects: they may be plain all the same, as paths are."""
    try:
        found = pa.Array.from_pandas(series)
    except _UNFIT:
        return _column(name, series.tolist(), 0, from_pandas=True)
    whole = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if series.dtype == object:
        check_same(name, series.tolist(), whole, 0)
    return whole.cast(whole.type.value_type) if pa.types.is_dictionary(whole.type) else whole


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):  # in an order that is the same each time
        return sorted(map(_plain, value), key=repr)
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


def _first_wrong(values: Sequence[Any]) -> int:
    """The first that cannot be in an array with those before it, by halving."""
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _is_array(values[:middle]) else (good, middle)
    return good if not _is_array(values[: good + 1]) else bad


def _is_array(values: Sequence[Any]) -> bool:
    try:
        pa.array([_plain(value) for value in values])
    except _UNFIT:
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bytes) else a_type(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
