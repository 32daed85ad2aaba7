"""SameValues: whether what Arrow has made of a column of Python's values are these values.

Of text and bytes together it makes bytes, or text; of dates and times dates; a time without a zone gets that of the others;
nanoseconds are left out.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.errors import InputError

# A column of one of these alone is what it was, or of arrays of numbers of one type.
_SAFE = frozenset({bool, int, float, str, bytes})
_SEQUENCES = (list, tuple, set, frozenset, np.ndarray)


def check_same(name: str, values: Sequence[Any], made: pa.Array, first: int) -> None:
    """Raises InputError, with the row, counted from ``first``, for a value in whose place tasks would get another one."""
    kinds = {one.dtype if isinstance(one, np.ndarray) else type(one) for one in values if one is not None}
    if len(kinds) < 2 and all(one in _SAFE or (isinstance(one, np.dtype) and one.kind in "biuf") for one in kinds):
        return
    is_plain = not isinstance(made.type, pa.BaseExtensionType)
    for row, (value, back) in enumerate(zip(values, made.to_pylist(), strict=True), first):
        if not (is_plain and _is_same(value, back)):
            instead = f"{back!r:.60}" if is_plain else "its bytes"
            raise InputError(
                f"samples: row {row}, column {name!r}: tasks would get {instead} in place of {value!r:.60}: write the values "
                "of a column with one type: text or bytes, dates or times, all times with a zone or none; what is finer as text"
            )


def _is_same(value: Any, back: Any) -> bool:
    if back is None:
        return _is_missing(value)
    if isinstance(value, Mapping):
        own = all(_is_same(item, back[key]) for key, item in value.items())
        return own and all(item is None for key, item in back.items() if key not in value)
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, _SEQUENCES):
        is_equal = isinstance(value, list) and _is_equal(value, back)  # at once, where they are many
        return is_equal or (len(value) == len(back) and all(map(_is_same, value, back)))
    for kind in (str, bytes, datetime.datetime):
        if isinstance(value, kind) is not isinstance(back, kind):
            return hasattr(value, "__fspath__")  # a path is its text
    return bool(value == back or (value != value and back != back))


def _is_equal(value: list[Any], back: list[Any]) -> bool:
    try:
        return value == back
    except (TypeError, ValueError):  # with NA of pandas, with arrays
        return False


def _is_missing(value: Any) -> bool:
    """Of None, and of what pandas has for it: NaN, NaT, NA."""
    if value is None or isinstance(value, (*_SEQUENCES, Mapping)):
        return value is None
    try:
        return bool(value != value)
    except TypeError:  # of NA nothing is true
        return True
