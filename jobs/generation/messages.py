"""Messages: what a cell of a manifest has of a talk, a list or JSON."""

import json
from typing import Any


def messages_of(column: str, cell: Any) -> list[dict[str, Any]]:
    """The messages; raises ValueError where they are none."""
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell
    except ValueError as error:
        raise ValueError(f"column {column!r} is no JSON here: {error}") from None
    is_list = isinstance(found, list) and found
    if not is_list or not all(isinstance(one, dict) and "role" in one for one in found):
        raise ValueError(f"column {column!r} has no list of messages here, each with role and content")
    return list(found)
