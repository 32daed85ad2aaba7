"""Ranges of numbers as people type and read them: ``3,7-9``."""

import itertools
from collections.abc import Iterable


def format_ranges(numbers: Iterable[int]) -> str:
    """``3,7-9`` for 3, 7, 8, 9."""
    pieces: list[str] = []
    for _, group in itertools.groupby(enumerate(sorted(set(numbers))), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        pieces.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ",".join(pieces)
