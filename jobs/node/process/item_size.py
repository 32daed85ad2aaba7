"""Item size: about how much memory what ``Job.load`` returned takes, where it never was in a slot that would tell."""

import sys
from collections.abc import Mapping
from typing import Any

# A number of Python's and the pointer to it.
_NUMBER = 32


def item_size(value: Any) -> int:
    """Bytes, as far as it can be seen: arrays, tensors, texts, and these in dicts and lists."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(item_size, value.values()))
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], int | float):
            return _NUMBER * len(value)
        return sum(map(item_size, value))
    size = getattr(value, "nbytes", None)
    return size if isinstance(size, int) else sys.getsizeof(value, _NUMBER)
