"""Sample outputs: what ``Job.process_sample`` returned, as ``process`` would have returned it for a batch.

What is stored of a sample depends on its own types alone, whichever others it is stored with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.errors import OutputError
from jobs.storage.outputs import describe
from jobs.tensors import is_tensor, to_numpy


def of_sample(outputs: object) -> dict[str, Any]:
    """What ``process_sample`` returned, in memory of its own as far as it is arrays or tensors; raises OutputError."""
    if not isinstance(outputs, Mapping) or not outputs:
        raise OutputError(f"process_sample returned {describe(outputs)}; valid: a dict of output name -> value")
    return {name: _own(value) for name, value in outputs.items()}


def _own(value: Any) -> Any:
    if is_tensor(value):
        value = to_numpy(value)
    return value.copy() if isinstance(value, np.ndarray) else value


def of_one_row(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a sample as ``process`` would have returned them for a batch of one."""
    return {
        name: value[None] if isinstance(value, np.ndarray) and value.ndim else [value]
        for name, value in outputs.items()
    }


def of_many_rows(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The outputs of several samples, as for a batch of them; None where that might differ from each of them by itself.

    That would be so where the types of an output differ: what is stored of a sample depends on no other one.
    """
    names = samples[0].keys()
    if any(sample.keys() != names for sample in samples):
        return None
    columns = {name: _joined([sample[name] for sample in samples]) for name in names}
    return None if any(column is None for column in columns.values()) else columns


def _joined(values: list[Any]) -> Any:
    first = values[0]
    kind = type(first)
    if any(type(value) is not kind for value in values):
        return None
    if kind is np.ndarray:
        is_plain = first.ndim and all(v.shape == first.shape and v.dtype == first.dtype for v in values)
        return np.stack(values) if is_plain else None
    if kind is str or kind is bytes:
        return values
    if kind is list:
        arrays = [np.asarray(value) for value in values]
        told = {array.dtype for array in arrays if array.size}
        are_plain = len(told) <= 1 and all(array.ndim == 1 and array.dtype.kind in "biuf" for array in arrays)
        return values if are_plain and all(_has_numbers(value) for value in values) else None
    array = np.array(values) if kind in (int, float, bool) or issubclass(kind, np.number) else None
    return array if array is not None and array.dtype == np.asarray(first).dtype else None


def _has_numbers(values: list[Any]) -> bool:
    """Whether all are of one type, so that none is rounded to that of another."""
    return len(set(map(type, values))) <= 1
