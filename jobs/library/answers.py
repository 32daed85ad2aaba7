"""Answers: what a Job or function returned for some rows, on its way to the caller, one result for each sample there.

Made by the writer of a device process (caller_backend.py), taken apart by the caller's stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.errors import OutputError, SampleFailed, described
from jobs.kinds import SampleFailureKind
from jobs.library.pickles import CANNOT, Packed, pack
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
class PartialAnswer:
    """The results of ``rows`` (positions in their batch; None: all of it)."""

    rows: tuple[int, ...] | None
    values: Values


Answer = tuple[list[PartialAnswer], list[FailedSample]]
"""All of a batch: the parts that it was done in, and its failed samples."""


def check(outputs: object, count: int) -> dict[str, Any]:
    """What ``Job.process`` returned for ``count`` samples, tensors as arrays; raises OutputError."""
    if not isinstance(outputs, Mapping) or not outputs:
        raise OutputError(f"process returned a {type(outputs).__name__}; valid: a dict of output name -> array or list")
    columns = {name: to_numpy(value) if is_tensor(value) else value for name, value in outputs.items()}
    for name, value in columns.items():
        if not isinstance(value, np.ndarray | Sequence) or isinstance(value, str | bytes) or np.ndim(value) == 0:
            raise OutputError(
                f"output {name!r} is a {type(value).__name__}; valid: an array, tensor or list, a row a sample"
            )
        if len(value) != count:
            raise RowCountError(name, len(value), count)
    return columns


def rows(values: Values) -> list[Any]:
    """One result for each row: the function's own, or {output name: its row}."""
    if isinstance(values, list):
        return values
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def pack_answer(answer: Answer, start: int) -> tuple[Packed, bool]:
    """The answer packed, and whether it holds failed samples; a result that cannot be pickled is a failed sample.

    ``start`` is the first row of the batch.
    """
    try:
        return pack(answer), bool(answer[1])
    except CANNOT:
        parts, failed = answer
        good: dict[int, Any] = {}
        for part in parts:
            for position, result in enumerate(rows(part.values)):
                row = position if part.rows is None else part.rows[position]
                try:
                    pack(result)
                    good[row] = result
                except CANNOT as error:
                    failed = [*failed, _cannot_be_sent(start + row, result, error)]
        return pack(([PartialAnswer(tuple(good), list(good.values()))], failed)), True


def _cannot_be_sent(row: int, result: object, error: Exception) -> FailedSample:
    what = f"its result (a {type(result).__name__}) cannot be sent back: {described(error)}"
    return TracedSample(
        row,
        SampleFailureKind.PROCESS,
        f"{what}; return what can be pickled: numbers, text, arrays, lists of these",
    )


def results(answer: Answer, first: int, start: int, count: int) -> list[Any]:
    """The batch's results in order, a SampleFailed where a sample failed.

    The batch is the rows ``[start, start + count)``; samples are counted from row ``first``.
    """
    parts, failed = answer
    if len(parts) == 1 and parts[0].rows is None and not failed:
        return rows(parts[0].values)
    found: list[Any] = [None] * count
    for part in parts:
        for position, result in zip(range(count) if part.rows is None else part.rows, rows(part.values), strict=True):
            found[position] = result
    for sample in failed:
        text = getattr(sample, "traceback", "")
        found[sample.row - start] = SampleFailed(sample.kind, sample.message, sample.row - first, text)
    return found
