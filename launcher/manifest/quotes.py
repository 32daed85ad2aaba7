"""Quotes: whether those of separated text open and close fields, and nothing else.

Arrow takes a quote that is never closed for one that ends at the next quote, or with the file: the rows between become one
field, without a word.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

_QUOTE = ord('"')


class QuotePairs:
    """Sees the bytes of a file, in chunks. ``odd``: some quotes are no pairs around a field.

    Within a field a quote is doubled, so that it closes and opens again. Quotes inside a field without quotes (``5" disk``)
    are odd and may be right: ``wrong_quotes`` knows, and is a hundred times slower.
    """

    def __init__(self, delimiter: str) -> None:
        self._outside = np.zeros(256, bool)
        self._outside[list(f'\r\n"{delimiter}'.encode())] = True
        self._rest = b"\n"
        self._seen = 0
        self._misplaced = False

    def update(self, chunk: bytes) -> None:
        data = self._rest + chunk
        # The last byte waits for its neighbour; it is the second then.
        self._rest = data[-2:]
        if b'"' in data:
            self._see(np.frombuffer(data, np.uint8))

    def _see(self, data: npt.NDArray[np.uint8]) -> None:
        places = np.flatnonzero(data[1:-1] == _QUOTE) + 1
        first = self._seen % 2
        opening, closing = places[first::2], places[1 - first :: 2]
        self._seen += len(places)
        around = np.concatenate([data[opening - 1], data[closing + 1]])
        self._misplaced = self._misplaced or not self._outside[around].all()

    def odd(self) -> bool:
        """Whether some are; to be asked at the end of the file."""
        self.update(b"\n\n")
        return self._misplaced or self._seen % 2 == 1


def wrong_quotes(lines: Iterable[str], delimiter: str) -> tuple[int, int, str] | None:
    """Line and row (from 1, the header is row 0) of the first record whose quotes are wrong, and what is."""
    line, row = 1, 0
    with _any_size():
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for record in reader:
                line, row = reader.line_num + 1, row + bool(record)
        except csv.Error as error:
            never = "has a quote that is never closed"
            return line, row, never if "end of data" in str(error) else f"{never}, or text behind its closing quote"
    return None


@contextmanager
def _any_size() -> Iterator[None]:
    """Fields as long as the file: that is what such a quote makes."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
