"""Checked JSON: a whole file with its own checksum among its keys, so that a bit that went bad is noticed: plans, submissions.

The checksum is of the values, in their order: a file that somebody has only formatted anew is intact.
"""

import json
from collections.abc import Mapping
from typing import Any

import xxhash

_KEY = "checksum"


def encode(data: Mapping[str, Any]) -> bytes:
    """The file, for people too; the checksum is the last key."""
    return f"{_pretty({**data, _KEY: _digest(data)})}\n".encode()


def _pretty(value: Any, margin: str = "") -> str:
    """A key a line, and a list on one: json's own indentation is slow, and a submission may have 10,000 ranges."""
    if not isinstance(value, Mapping) or not value:
        return json.dumps(value)
    lines = (f"{margin} {json.dumps(str(key))}: {_pretty(item, f'{margin} ')}" for key, item in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{margin}}}"


def decode(text: bytes) -> dict[str, Any]:
    """The values. Raises ValueError where they are not those that were written; older versions wrote no checksum."""
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("not a mapping")
    checksum = data.pop(_KEY, None)
    if checksum is not None and checksum != _digest(data):
        raise ValueError("its checksum is of other values")
    return data


def _digest(data: Mapping[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(data, separators=(",", ":")).encode())
