"""SentFile: an object of a store, as it was written; who only reads what is known of it needs no client of stores."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SentFile:
    """An object as it was written: its size in bytes, and the xxh3 (128 bits) of these."""

    url: str
    size: int
    hash: str
