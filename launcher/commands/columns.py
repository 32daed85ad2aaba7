"""Columns: what a manifest says of each sample, as plan shows it: a Job asks for them by name, and gets them by type."""

from collections.abc import Mapping
from itertools import accumulate

# About two lines of a terminal; the type of a list of objects alone may be longer.
_CHARACTERS = 200
_OF_ONE = 80


def told(columns: Mapping[str, str], id_column: str | None) -> tuple[str, str]:
    """Two texts: names and types, as many as two lines of a terminal hold, and which column is the id."""
    whole = [f"{name}: {kind}" for name, kind in columns.items()]
    words = [word if len(word) <= _OF_ONE else f"{word[:_OF_ONE]}..." for word in whole]
    ends = accumulate(len(word) + len(", ") for word in words)
    shown = max(1, sum(end <= _CHARACTERS for end in ends))
    more = f" and {len(words) - shown:,} more" if len(words) > shown else ""
    ids = "row numbers; data.id names a column for it" if id_column is None else id_column
    return f"columns ({len(words):,}): {', '.join(words[:shown])}{more}", f"id: {ids}"
