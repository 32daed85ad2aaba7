"""Outputs: what ``Job.process`` returned, as columns of bytes ready to be stored.

An array is stored as it is, one row a sample. A list says "one thing a sample": of numbers, it becomes an array; of
arrays, a ragged output (values and lengths); of str or bytes, ragged uint8. That depends on the types alone, never on
the data, so each batch is stored the same way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.errors import OutputError
from jobs.stacked import stack_arrays
from jobs.storage.arrays import describe, plain_array, to_array, to_list, unpadded
from jobs.storage.records import Output
from jobs.tensors import is_tensor

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NOT_OUTPUTS = frozenset({"id", "status", "errors", "summary"})
"""What else a result holds beside the outputs."""
_RESERVED = {*NOT_OUTPUTS, "index"}  # a reduction's blocks have the rows under this name


@dataclass(frozen=True)
class Column:
    """One output of some rows.

    Fixed: ``data`` is [rows, *shape]. Ragged: ``data`` is the items of all rows in a row, [sum(lengths), *shape], and
    ``lengths`` is int64 [rows]. It is ``open`` where no row has an item, and of what items would be nobody said.
    """

    data: np.ndarray
    lengths: np.ndarray | None = None
    encoding: str | None = None
    open: bool = False

    @property
    def rows(self) -> int:
        return len(self.data if self.lengths is None else self.lengths)

    def copy(self) -> "Column":
        """The same values in memory of their own."""
        lengths = None if self.lengths is None else self.lengths.copy()
        return Column(self.data.copy(), lengths, self.encoding, self.open)

    def form(self, name: str) -> Output:
        """How this column is stored."""
        return Output(
            name, self.lengths is not None, self.data.dtype.str, self.data.shape[1:], self.encoding, self.open
        )


Columns = dict[str, Column]


class RowCountError(OutputError):
    """An output has another number of rows than there are samples, so that no row can be told whose it is."""

    def __init__(self, name: str, rows: int, samples: int) -> None:
        super().__init__(f"output {name!r} has {rows} rows for a batch of {samples} samples; it must have one for each")


def to_columns(outputs: object, rows: int, *, own: bool = False) -> Columns:
    """Checks and converts what ``process`` returned for ``rows`` samples; raises OutputError.

    ``own``: the columns are in memory of their own, and not that of the Job, which may write to it again.
    """
    if not isinstance(outputs, Mapping) or not outputs:
        raise OutputError(f"process returned {describe(outputs)}; valid: a dict of output name -> array or list")
    columns = {}
    for key, value in outputs.items():
        name = _name(key)
        column = columns[name] = _column(name, value, own)
        if column.rows != rows:
            raise RowCountError(name, column.rows, rows)
    return columns


def _name(key: object) -> str:
    """A derived class, as an enum of text, is the user's own: the supervisor, which hears of the name, has none of them."""
    if not isinstance(key, str) or not _NAME.fullmatch(key) or key in _RESERVED:
        raise OutputError(
            f"output name {key!r} is not valid: letters, digits and _; not one of {', '.join(sorted(_RESERVED))}"
        )
    return str.__str__(key)


def _column(name: str, value: Any, own: bool) -> Column:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value):
        return _from_list(name, value)
    if texts := _texts(value):
        return _from_list(name, texts)
    array = to_array(name, value)
    if array.ndim == 0:
        raise OutputError(f"output {name!r} is a single value; its first axis must be the batch")
    # Whatever made it an array may have made one of the Job's own memory.
    return Column(array.copy() if own else array)


def _texts(value: Any) -> list[Any]:
    """What a column of text has, of numpy, pandas, pyarrow or polars; nothing of any other value."""
    as_list = to_list(value)
    if as_list is None or is_tensor(value):
        return []
    try:
        array = np.asanyarray(value)
    except (TypeError, ValueError, RuntimeError):  # no array at all: to_array tells why
        return []
    if array.dtype.kind not in "SUTO" or array.ndim != 1:
        return []
    found = list(as_list())
    return found if any(isinstance(item, str | bytes) for item in found) else []


def _from_list(name: str, values: Sequence[Any]) -> Column:
    if all(isinstance(value, str) for value in values):
        return _strings([_encoded(name, value) for value in values], "utf-8")
    if all(isinstance(value, bytes) for value in values):
        return _strings(values, "bytes")
    if any(isinstance(value, str | bytes) for value in values):
        found = ", ".join(sorted({type(value).__name__ for value in values}))
        raise OutputError(f"output {name!r} mixes {found}: a list of text is of str alone, or of bytes alone")
    arrays = [to_array(name, value) for value in values]
    if all(array.ndim == 0 for array in arrays):
        return Column(plain_array(name, _stacked(name, arrays)))
    return _ragged(name, arrays)


def _stacked(name: str, numbers: list[np.ndarray]) -> np.ndarray:
    try:
        return stack_arrays(numbers)
    except ValueError as error:
        raise OutputError(f"output {name!r}: {error}; return numbers of one dtype") from None


def _encoded(name: str, value: str) -> bytes:
    """A derived class may encode in a way of its own; what is stored is the text."""
    try:
        return str.encode(value)
    except UnicodeEncodeError as error:
        raise OutputError(
            f"output {name!r}: a text has {value[error.start : error.start + 1]!r}, half of a character, which UTF-8 "
            "cannot hold; return bytes, or replace it"
        ) from None


def _strings(values: Sequence[bytes], encoding: str) -> Column:
    data = np.frombuffer(b"".join(values), np.uint8)
    return Column(data, np.array([len(value) for value in values], np.int64), encoding)


def _ragged(name: str, arrays: list[np.ndarray]) -> Column:
    told = [array for array in arrays if not _is_nothing(array)]
    forms = {(array.dtype.str, array.shape[1:]) for array in told if array.ndim}
    if told and (len(forms) != 1 or not all(array.ndim for array in told)):
        found = ", ".join(sorted({describe(array) for array in told}))
        raise OutputError(f"output {name!r} mixes {found}: a list's arrays may differ in their first axis only")
    shape = (told or arrays)[0].shape[1:]
    if 0 in shape:
        raise OutputError(f"output {name!r}: items of shape {list(shape)} have no elements")
    lengths = np.array([len(array) for array in arrays], np.int64)
    return Column(np.ascontiguousarray(np.concatenate(told or arrays)), lengths, open=not told)


def _is_nothing(array: np.ndarray) -> bool:
    """Whether it is what numpy and torch make of an empty list, which tells nothing of the items that others have."""
    return array.shape == (0,) and array.dtype.kind == "f"


def check_form(columns: Columns, outputs: Sequence[Output]) -> None:
    """Raises OutputError where the columns differ in name, dtype or shape from those of the first batch."""
    expected = {output.name: output for output in outputs}
    if columns.keys() != expected.keys():
        raise OutputError(f"outputs are {sorted(columns)}; the first batch had {sorted(expected)}")
    for name, column in columns.items():
        found = column.form(name)
        if not expected[name].joined(found):
            raise OutputError(
                f"output {name!r} is {found.describe()}; the first batch had {expected[name].describe()}: "
                "names, dtypes and shapes must not change"
            )


def without_values(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What rows without a value hold: NaN for floats, 0 for the rest."""
    return unpadded(np.full(shape, np.nan if dtype.kind in "fc" else 0, dtype))


def forms(parts: Sequence[Columns]) -> list[Output]:
    """The forms of parts of a batch, of each output that of the first which has one; empty where there is no part."""
    if not parts:
        return []
    return [
        next((part[name] for part in parts if name in part and not part[name].open), column).form(name)
        for name, column in parts[0].items()
    ]


def join(parts: Sequence[tuple[np.ndarray, Columns]], rows: int) -> Columns:
    """Puts columns of parts of a batch together; ``parts`` holds (positions in the batch, columns) in any order.

    Positions that no part covers (failed samples) get the fill value, or length 0. Raises OutputError where the
    parts differ in form.
    """
    if not parts:
        return {}
    positions, first = parts[0]
    if len(parts) == 1 and np.array_equal(positions, np.arange(rows)):
        return first
    known = forms([columns for _, columns in parts])
    for _, columns in parts:
        check_form(columns, known)
    return {name: _join_column([(at, columns[name]) for at, columns in parts], rows) for name in first}


def _join_column(parts: list[tuple[np.ndarray, Column]], rows: int) -> Column:
    first = parts[0][1]
    if first.lengths is not None:
        return _join_ragged(parts, rows)
    data = without_values((rows, *first.data.shape[1:]), first.data.dtype)
    for positions, column in parts:
        data[positions] = column.data
    return Column(data)


def _join_ragged(parts: list[tuple[np.ndarray, Column]], rows: int) -> Column:
    first = parts[0][1]
    order = np.concatenate([positions for positions, _ in parts])
    filled = [column for _, column in parts if not column.open] or [first]
    joined = np.concatenate([column.data for column in filled])
    lengths = np.zeros(rows, np.int64)
    lengths[order] = np.concatenate([column.lengths for _, column in parts if column.lengths is not None])
    if (np.diff(order) > 0).all():
        return Column(joined, lengths, first.encoding, filled[0].open)
    # An item moves from where its row began in the parts to where it begins in the batch.
    begins = np.cumsum(lengths)[order] - lengths[order]
    began = np.cumsum(lengths[order]) - lengths[order]
    data = np.empty_like(joined)
    data[np.repeat(begins - began, lengths[order]) + np.arange(len(joined))] = joined
    return Column(data, lengths, first.encoding, filled[0].open)
