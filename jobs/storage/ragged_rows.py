"""The rows of an output of variable length, whose items lie end to end."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def row_bounds(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin and end among their items: int64 [rows + 1], from 0 on."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def row_values(rows: Sequence[np.ndarray], encoding: str | None) -> list[Any]:
    """Rows as people get them: arrays as they are; str or bytes where that is what their bytes are (``Output.encoding``)."""
    if encoding is None:
        return list(rows)
    strings = [row.tobytes() for row in rows]
    return strings if encoding == "bytes" else [string.decode(encoding) for string in strings]
