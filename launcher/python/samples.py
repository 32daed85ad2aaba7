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

from jobs.errors import InputError
from jobs.storage.samples import BATCH_ROWS

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


def has_names(rows: Sequence[Any]) -> bool:
    """Whether the rows are mappings, or objects with names for their values."""
    return bool(rows) and _as_mapping(rows[0]) is not None


def _is_table(samples: object) -> bool:
    return (
        isinstance(samples, pa.Table | pa.RecordBatch) or _is_pandas(samples) or hasattr(samples, "__arrow_c_stream__")
    )


def _is_pandas(samples: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(samples, pandas.DataFrame)


def write(samples: Any, path: Path) -> None:
    """Writes them as an Arrow file. Raises InputError, with row and column, for what a manifest cannot hold."""
    batches = list(_batches(samples))
    if not batches:
        raise InputError("samples: there are none; a run needs at least one")
    try:
        schema = pa.unify_schemas([batch.schema.remove_metadata() for batch in batches], promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise InputError(f"samples: the values of a column are of types that do not go together: {error}") from None
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            writer.write_table(_with_columns(batch, schema), max_chunksize=BATCH_ROWS)


def _with_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    own = set(batch.schema.names)
    columns = [batch.column(f.name).cast(f.type) if f.name in own else pa.nulls(batch.num_rows, f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _batches(samples: Any) -> Iterator[pa.RecordBatch]:
    if _is_pandas(samples):
        columns = {str(name): _column(str(name), samples[name].tolist(), 0, samples[name]) for name in samples.columns}
        yield from pa.table(columns).to_batches()
    elif _is_table(samples):
        table = pa.Table.from_batches([samples]) if isinstance(samples, pa.RecordBatch) else pa.table(samples)
        yield from table.to_batches()
    elif isinstance(samples, Iterable):
        rows = iter(samples)
        for first in itertools.count(0, BATCH_ROWS):
            if not (piece := list(itertools.islice(rows, BATCH_ROWS))):
                return
            yield _from_rows(piece, first)
    else:
        raise InputError(
            f"samples: a {type(samples).__name__} is not valid; valid: a path or pattern, a DataFrame, an Arrow table, or an "
            "iterable of mappings or values"
        )


def _from_rows(rows: Sequence[Any], first: int) -> pa.RecordBatch:
    found = [_as_mapping(row) for row in rows]
    if all(row is None for row in found):
        return pa.record_batch({VALUE: _column(VALUE, rows, first)})
    for number, row in enumerate(found, start=first):
        if row is None or not all(isinstance(name, str) for name in row):
            raise InputError(
                f"samples: row {number}: {_shown(rows[number - first])} is no mapping of names to values, as others are"
            )
    names = dict.fromkeys(name for row in found if row is not None for name in row)
    columns = {name: _column(name, [row.get(name) for row in found if row is not None], first) for name in names}
    return pa.record_batch(columns)


def _as_mapping(row: Any) -> Mapping[str, Any] | None:
    if isinstance(row, Mapping):
        return row
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {one.name: getattr(row, one.name) for one in dataclasses.fields(row)}
    return row._asdict() if hasattr(row, "_asdict") else None


def _column(name: str, values: Sequence[Any], first: int, series: Any = None) -> pa.Array:
    """``series`` are the same values as pandas has them, whose types Arrow knows."""
    try:
        if series is not None and (found := _as_pandas_has_it(series)) is not None:
            return found
        return pa.array(map(_plain, values), from_pandas=series is not None, size=len(values))
    except _UNFIT as error:
        row = _first_wrong(values)
        raise InputError(
            f"samples: row {first + row}, column {name!r}: {_shown(values[row])} is no plain value, or of another type than "
            f"those before it ({error}); valid: {_VALID}, one type in a column"
        ) from None


def _as_pandas_has_it(series: Any) -> pa.Array | None:
    """None where it holds objects: they may be plain all the same, as paths are."""
    try:
        found = pa.Array.from_pandas(series)
    except _UNFIT:
        return None
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


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
    kind = type(value)
    text = repr(value) if isinstance(value, str | int | float | bytes) else f"a {kind.__module__}.{kind.__qualname__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
