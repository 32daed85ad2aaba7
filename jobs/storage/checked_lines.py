"""Checked lines: JSON with its checksum before it, ``xxh3-64 hex, space, JSON``: what journals and claims are made of."""

import json
from typing import Any

import xxhash

DIGITS = 16
"""Of the checksum."""
_JSON = json.JSONDecoder()


def encode(value: Any) -> bytes:
    """One line, newline included."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return xxhash.xxh3_64_hexdigest(body).encode() + b" " + body + b"\n"


def decode(line: bytes) -> Any:
    """The value of a line without its newline. Raises ValueError where the line is torn or damaged."""
    checksum, _, body = line.partition(b" ")
    if xxhash.xxh3_64_hexdigest(body).encode() != checksum:
        raise ValueError("torn or damaged")
    value, _ = _JSON.raw_decode(body.decode())
    return value
