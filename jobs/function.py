"""Calls a function with each sample, and stores what it returns: the Job of ``launcher.map``.

The function runs in the pool workers, as many at a time as there are; where it raises, that sample has failed, and no other.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from jobs.errors import InputError
from jobs.job import Job
from jobs.stacked import stack_arrays

_ALONE = "result"
_NOTHING = "done"


class Function(Job):
    """What the function returns for a sample becomes an output: ``result``, or of a mapping each of its names.

    Numbers become an array, text becomes text, a list a row of any length; an array is of one shape for all samples. A
    function that returns nothing has the output ``done``.

    ``function``: module:name; ``column``: the column whose value it is called with; null: with the whole sample, as a dict.
    """

    def __init__(self, function: str, column: str | None = None) -> None:
        self._function = _imported(function)
        self._column = column

    def manifest_columns(self) -> tuple[str, ...]:
        return () if self._column is None else (self._column,)

    def load(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        found = self._function(dict(sample) if self._column is None else sample[self._column])
        if found is None:
            return {_NOTHING: True}
        return dict(found) if isinstance(found, Mapping) else {_ALONE: found}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        first = items[0]
        for item in items:
            if item.keys() != first.keys():
                raise ValueError(
                    f"the function returned {', '.join(item)} for one sample, and {', '.join(first)} for another"
                )
        return {name: _together([item[name] for item in items]) for name in first}

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        return batch


def _together(values: list[Any]) -> Any:
    """By their types alone, not by what values a batch happens to have."""
    return stack_arrays(values) if all(isinstance(value, np.ndarray) for value in values) else values


def _imported(path: str) -> Callable[[Any], Any]:
    module, _, name = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(f"job.params: function: {path!r} cannot be imported: {error}; valid: module:name") from error
    if not callable(found):
        raise InputError(
            f"job.params: function: {path!r} is no function, but a {type(found).__name__}; valid: module:name"
        )
    return found  # type: ignore[no-any-return]
