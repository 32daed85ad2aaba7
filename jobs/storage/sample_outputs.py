"""Sample outputs: what ``Job.process_sample`` returned, as ``process`` would have returned it for a batch.

What is stored of a sample depends on its own types alone, whichever others it is stored with.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jobs.errors import OutputError
from jobs.storage.arrays import describe, to_array
from jobs.tensors import is_tensor, to_numpy

_PLAIN = frozenset({int, float, str, bytes, bool})


class Listed(NamedTuple):
    """The numbers of a list, or of what numpy makes an array of: a sample's item of any length, or one number."""

    array: np.ndarray


def check_sample(outputs: object) -> Mapping[Any, Any]:
    """What ``process_sample`` returned, if it is outputs; raises OutputError."""
    if not isinstance(outputs, Mapping) or not outputs:
        raise OutputError(f"process_sample returned {describe(outputs)}; valid: a dict of output name -> value")
    return outputs


def of_sample(outputs: object) -> dict[str, Any]:
    """What ``process_sample`` returned, in memory of its own, which the Job does not change any more; raises OutputError.

    What else can go wrong when it is looked at does so here, where it is this sample's failure.
    """
    return {name: _own(name, value) for name, value in check_sample(outputs).items()}


def _own(name: str, value: Any) -> Any:
    if type(value) in _PLAIN or isinstance(value, str | bytes | bool | int | float | complex | np.generic):
        return value
    if inspect.isawaitable(value):
        raise OutputError(
            f"output {name!r} is {describe(value)}; valid: a number, text, bytes, an array, a list of numbers"
        )
    if is_tensor(value):
        return np.array(to_array(name, value))
    if isinstance(value, np.ndarray):
        return value.copy()
    return Listed(np.array(to_array(name, value)))


def size_of(outputs: Mapping[str, Any]) -> int:
    """Bytes of a sample's outputs, where they are many."""
    return sum(map(_size, outputs.values()))


def _size(value: Any) -> int:
    if type(value) is int or type(value) is float:
        return 8
    if isinstance(value, Listed):
        return value.array.nbytes
    return value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, str | bytes) else 8


def of_one_row(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a sample as ``process`` would have returned them for a batch of one."""
    return {name: _row(value) for name, value in outputs.items()}


def _row(value: Any) -> Any:
    if isinstance(value, Listed):
        return [value.array]
    value = to_numpy(value) if is_tensor(value) else value
    return value[None] if isinstance(value, np.ndarray) and value.ndim else [value]


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
    if kind is Listed:
        arrays: list[np.ndarray] = [value.array for value in values]
        told = {array.dtype for array in arrays if array.size}
        are_plain = len(told) <= 1 and all(array.ndim == 1 and array.dtype.kind in "biuf" for array in arrays)
        return arrays if are_plain else None
    array = np.array(values) if kind in (int, float, bool) or issubclass(kind, np.number) else None
    return array if array is not None and array.dtype == np.asarray(first).dtype else None
