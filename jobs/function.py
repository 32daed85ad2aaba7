"""Calls a function with each sample, and stores what it returns: the Jobs of ``launcher.map``.

Where it raises, that sample has failed, and no other. A plain function runs in the pool workers, as many calls at a time as
there are; of one that is ``async def`` ``node.in_flight`` calls are under way in each process.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from jobs.errors import InputError, a_type
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
        if inspect.iscoroutinefunction(self._function):
            raise InputError(
                f"job.params: function: {function!r} is `async def`: use {__name__}:{AsyncFunction.__name__}"
            )
        self._column = column

    def manifest_columns(self) -> tuple[str, ...]:
        return () if self._column is None else (self._column,)

    def load(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        return _outputs(self._function(_argument(sample, self._column)))

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


class AsyncFunction(Job):
    """The same of a function that is ``async def``: of long, uneven calls, ``node.in_flight`` are under way in each process.

    ``function``: module:name; ``column``: the column whose value it is called with; null: with the whole sample, as a dict.
    """

    def __init__(self, function: str, column: str | None = None) -> None:
        self._function: Callable[[Any], Awaitable[Any]] = _imported(function)
        if not inspect.iscoroutinefunction(self._function):
            raise InputError(
                f"job.params: function: {function!r} is a plain function: use {__name__}:{Function.__name__}"
            )
        self._column = column

    def manifest_columns(self) -> tuple[str, ...]:
        return () if self._column is None else (self._column,)

    def load(self, sample: Mapping[str, Any]) -> Any:
        return _argument(sample, self._column)

    async def process_sample(self, item: Any, seed: int) -> dict[str, Any]:
        return _outputs(await self._function(item))


def _argument(sample: Mapping[str, Any], column: str | None) -> Any:
    return dict(sample) if column is None else sample[column]


def _outputs(found: Any) -> dict[str, Any]:
    if found is None:
        return {_NOTHING: True}
    return dict(found) if isinstance(found, Mapping) else {_ALONE: found}


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
        raise InputError(f"job.params: function: {path!r} is no function, but {a_type(found)}; valid: module:name")
    return found  # type: ignore[no-any-return]
