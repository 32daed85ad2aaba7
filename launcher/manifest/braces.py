"""Braces: names with {000..099} or {train,test} in them, as a shell, and webdataset, have them."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence

from jobs.errors import InputError

_BRACES = re.compile(r"\{(\d+\.\.\d+|[^{}]*,[^{}]*)\}")
_NUMBERS = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 1_000_000


def braced(text: str) -> Iterator[str]:
    """All names in order; the text itself where it has no braces. Raises InputError for numbers that are a slip."""
    parts = _BRACES.split(text)  # text and what was in braces, by turns
    choices = [_choices(part, text) if number % 2 else (part,) for number, part in enumerate(parts)]
    if math.prod(map(len, choices)) > _MOST:
        raise InputError(f"{text}: are over {_MOST:,} names (data.manifest)")
    return map("".join, itertools.product(*choices))


def _choices(inside: str, text: str) -> Sequence[str]:
    if not (numbers := _NUMBERS.fullmatch(inside)):
        return inside.split(",")
    first, last = int(numbers[1]), int(numbers[2])
    if abs(last - first) >= _MOST:
        raise InputError(f"{text}: {{{inside}}} are over {_MOST:,} names (data.manifest)")
    is_padded = any(len(number) > 1 and number[0] == "0" for number in numbers.groups())
    width = max(map(len, numbers.groups())) if is_padded else 0
    step = 1 if first <= last else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]
