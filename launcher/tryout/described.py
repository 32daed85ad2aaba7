"""Described: what a Job returned, in words: names, types, dtypes, shapes, first values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs.tensors import is_tensor

_VALUES = 4
_CHARACTERS = 60
_ENTRIES = 20


@dataclass(frozen=True)
class Described:
    """One value; ``name`` is where it is in what was returned, empty for the whole."""

    name: str
    type: str
    dtype: str | None
    shape: tuple[int | str, ...] | None
    first: str

    def __str__(self) -> str:
        shape = "" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        kind = " ".join(filter(None, [self.type, self.dtype, shape]))
        return f"{self.name and f'{self.name}: '}{kind}{self.first and f'  {self.first}'}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def describe(value: Any, name: str = "") -> Iterator[Described]:
    """A value; of a mapping, tuple or list of arrays each of what is in it."""
    if isinstance(value, Mapping) and value:
        for key, item in list(value.items())[:_ENTRIES]:
            yield from describe(item, f"{name}[{key!r}]" if name else str(key))
    elif (isinstance(value, tuple) and value and not _is_plain(value)) or _has_arrays(value):
        for number, item in enumerate(value[:_ENTRIES]):
            yield from describe(item, f"{name}[{number}]")
    else:
        yield _one(value, name)


def _has_arrays(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, np.ndarray) or is_tensor(item) for item in value)
    )


def _is_plain(values: tuple[Any, ...]) -> bool:
    """Whether they read best as a list does: texts, or numbers, of one type."""
    return len(values) > 1 and {type(value) for value in values} <= {type(values[0])} & {str, int, float}


def _one(value: Any, name: str) -> Described:
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return Described(
            name, "array", str(value.dtype), value.shape, _values(value.ravel()[:_VALUES].tolist(), value.size)
        )
    if is_tensor(value):
        first = value.detach().reshape(-1)[:_VALUES].tolist()
        dtype = f"{str(value.dtype).removeprefix('torch.')} on {value.device}"
        return Described(name, "tensor", dtype, tuple(value.shape), _values(first, value.numel()))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        inner = type(value[0]).__name__ if value else None
        return Described(name, kind, inner and f"of {inner}", (len(value),), _values(list(value[:_VALUES]), len(value)))
    if isinstance(value, str | bytes):
        return Described(name, kind, None, (len(value),), _short(repr(value)))
    if isinstance(value, np.generic):
        return Described(name, kind, None, None, _short(repr(value.item())))
    if value is None or isinstance(value, bool | int | float | complex):
        return Described(name, kind, None, None, _short(repr(value)))
    return Described(name, kind, None, None, "")


def _values(first: list[Any], count: int) -> str:
    words = [f"{item:.6g}" if isinstance(item, float) else _short(repr(item)) for item in first]
    return f"{', '.join(words)}{', ...' if count > len(first) else ''}"


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}..."
