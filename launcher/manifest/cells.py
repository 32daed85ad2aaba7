"""Cells: whether Python can make a value of each; a Job reads many at once, and one that fails would fail its neighbours.

Arrow and Parquet files may hold text that is no UTF-8, years after 9999 and time zones that are not there.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa


def unreadable(column: pa.Array) -> tuple[int, str] | None:
    """The first row of which Python makes no value, and why."""
    if _readable(column):
        return None
    if damage := _damage(column):  # asked for one of its values, Arrow would end this process
        return 0, damage
    found = ((row, _problem(column[row])) for row in range(len(column)))
    return next(((row, problem) for row, problem in found if problem), None)


def _readable(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
        return all(_times_readable(part) for part in _times(column))
    except (ValueError, OverflowError, KeyError):
        return False


def _damage(column: pa.Array) -> str | None:
    """What is wrong with a column beyond single values."""
    try:
        column.validate(full=True)
    except ValueError as error:
        return None if "UTF8" in str(error) else f"the file is damaged ({error})"
    return None


def _times(column: pa.Array) -> Iterator[pa.Array]:
    """The dates and times in a column, also in its lists and structs."""
    kind = column.type
    if pa.types.is_struct(kind):
        for child in column.flatten():
            yield from _times(child)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _times(column.flatten())
    elif pa.types.is_temporal(kind) and pa.types.is_primitive(kind):
        yield column


def _times_readable(times: pa.Array) -> bool:
    """By the first and the last of them; nanoseconds, which Python's own types lack, one by one."""
    if getattr(times.type, "unit", "") == "ns":
        return times.to_pylist() is not None
    import pyarrow.compute as pc  # which takes 70 ms

    numbers = times.view(pa.int32() if times.type.bit_width == 32 else pa.int64())
    for end in pc.min_max(numbers).values():
        if end.is_valid:
            times[pc.index(numbers, end).as_py()].as_py()
    return True


def _problem(cell: Any) -> str:
    try:
        cell.as_py()
    except (ValueError, OverflowError, KeyError) as error:
        return str(error)
    return ""
