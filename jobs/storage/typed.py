"""Typed: the fields of a dataclass that was read from JSON have the types that it says, however the file came to be as it is."""

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_Made = TypeVar("_Made")


def checked(made: _Made) -> _Made:
    """The same object. Raises TypeError with the name of the first field whose value is of another type."""
    for name, hint in _hints(type(made)).items():
        if not _fits(getattr(made, name), hint):
            raise TypeError(f"{name}: {str(getattr(made, name))[:100]!r} is no {getattr(hint, '__name__', hint)}")
    return made


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _fits(value: Any, hint: Any) -> bool:
    arguments = get_args(hint)
    match get_origin(hint):
        case None:
            return hint is Any or (type(value) is int and hint is float) or _is(value, hint)
        case types.UnionType | Union:
            return any(_fits(value, one) for one in arguments)
        case origin if issubclass(origin, tuple) and arguments[-1:] != (Ellipsis,):
            return _is(value, tuple) and len(value) == len(arguments) and all(map(_fits, value, arguments))
        case origin if issubclass(origin, Mapping):
            return isinstance(value, Mapping) and all(
                _fits(key, arguments[0]) and _fits(one, arguments[1]) for key, one in value.items()
            )
        case origin:
            return _is(value, origin) and all(_fits(one, arguments[0]) for one in value)


def _is(value: Any, cls: Any) -> bool:
    # True is no number here: in JSON they are different things.
    return isinstance(value, type(None) if cls is None else cls) and not (cls is int and isinstance(value, bool))
