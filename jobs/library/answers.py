"""Answers: what a Job or function returned for some rows, on its way to the caller, one result for each sample there.

Made by the writer of a device process (caller_backend.py), taken apart by the caller's stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.errors import OutputError, SampleFailed, a_type
from jobs.kinds import SampleFailureKind
from jobs.node.worker.loading import describe
from jobs.pickles import Packed, pack
from jobs.storage.arrays import to_array
from jobs.storage.outputs import RowCountError
from jobs.storage.records import FailedSample
from jobs.tensors import is_tensor, to_numpy


@dataclass(frozen=True, slots=True)
class TracedSample(FailedSample):
    """A failed sample with the text of its traceback."""

    traceback: str = ""


Values = list[Any] | dict[str, Any]
"""Of some rows: a list of results, or {output name: array or list}, first axis = the rows."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What was returned for some samples, packed: what becomes of its memory is nothing to the results.

    ``places`` are those of the samples that it is of (None: all); ``unsendable`` says of the others why it cannot be packed.
    """

    values: Packed
    places: tuple[int, ...] | None = None
    unsendable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """The results of ``rows`` (positions in their batch; None: all of it), packed Values."""

    rows: tuple[int, ...] | None
    values: Packed


Answer = tuple[list[PartialAnswer], list[FailedSample]]
"""All of a batch: the parts that it was done in, and its failed samples."""


def check(outputs: object, count: int) -> dict[str, Any]:
    """What ``Job.process`` returned for ``count`` samples, tensors as arrays; raises OutputError."""
    if not isinstance(outputs, Mapping) or not outputs:
        raise OutputError(f"process returned {a_type(outputs)}; valid: a dict of output name -> array or list")
    columns = {name: _array_or_list(name, value) for name, value in outputs.items()}
    for name, value in columns.items():
        if len(value) != count:
            raise RowCountError(name, len(value), count)
    return columns


def _array_or_list(name: object, value: Any) -> Any:
    """Looks at the kind alone: what a list holds may be of any size and form."""
    try:
        value = to_numpy(value) if is_tensor(value) else value
    except (TypeError, RuntimeError) as error:
        raise OutputError(f"output {name!r}, {a_type(value)}, is no array: {error}") from None
    if not isinstance(value, np.ndarray) and (hasattr(value, "__array__") or isinstance(value, memoryview)):
        value = to_array(str(name), value)  # pandas', pyarrow's: as an array task takes them, by their order
    is_array = isinstance(value, np.ndarray) and value.ndim > 0
    if not is_array and (not isinstance(value, Sequence) or isinstance(value, str | bytes)):
        raise OutputError(f"output {name!r} is {a_type(value)}; valid: an array, tensor or list, a row a sample")
    return value


def rows(values: Values) -> list[Any]:
    """One result for each row: the function's own, or {output name: its row}."""
    if isinstance(values, list):
        return values
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def packed(values: Values) -> Returned:
    """The results packed, without those that cannot be. Raises MemoryError."""
    try:
        return Returned(pack(values))
    except MemoryError:
        raise
    except Exception:  # whatever the classes of the results raise
        good: dict[int, Any] = {}
        bad: dict[int, str] = {}
        for place, result in enumerate(rows(values)):
            try:
                pack(result)
                good[place] = result
            except Exception as error:
                bad[place] = _cannot_be_sent(result, error)
        return Returned(pack(list(good.values())), tuple(good), bad)


def _cannot_be_sent(result: object, error: Exception) -> str:
    what = f"its result ({a_type(result)}) cannot be sent back: {describe(error)}"
    return f"{what}; return what can be pickled: numbers, text, arrays, lists of these"


def unsendable(row: int, why: str) -> FailedSample:
    """The record of a sample whose result cannot be packed."""
    return TracedSample(row, SampleFailureKind.PROCESS, why)


@dataclass(frozen=True, slots=True)
class Unloadable(Exception):
    """Results that cannot be unpickled here, which ``error`` tells, in a part of ``rows`` samples."""

    error: Exception
    rows: int


def results(answer: Answer, first: int, start: int, count: int, *, alone: bool) -> tuple[list[Any], bool]:
    """The batch's results in order, a SampleFailed where a sample failed, and whether any has.

    The batch is the rows ``[start, start + count)``; samples are counted from row ``first``. Raises Unloadable where a
    part cannot be unpickled; ``alone``: if that is a sample's own, it is one that failed.
    """
    parts, failed = answer
    found: list[Any] = [None] * count
    for part in parts:
        places = range(count) if part.rows is None else part.rows
        try:
            values = rows(part.values.load())
        except Exception as error:  # whatever the classes of the results raise
            if not alone or len(places) > 1:
                raise Unloadable(error, len(places)) from error
            failed = [*failed, unsendable(start + places[0], f"its result cannot be loaded here: {describe(error)}")]
            continue
        if part.rows is None and not failed:
            return values, False
        for place, result in zip(places, values, strict=True):
            found[place] = result
    for sample in failed:
        text = getattr(sample, "traceback", "")
        found[sample.row - start] = SampleFailed(sample.kind, sample.message, sample.row - first, text)
    return found, bool(failed)
