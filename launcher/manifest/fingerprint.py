"""Fingerprint: a hash of rows that depends on their values alone. A plan is bound to it.

The same rows from a CSV, a Parquet or an Arrow file, in record batches of any size, hash alike as long as the
column types are the same: offsets, padding, validity bitmaps and bytes under nulls are left out.
"""

import numpy as np
import pyarrow as pa
import xxhash


class Fingerprint:
    """Hash of a sequence of record batches of a fixed size: each is hashed column by column."""

    def __init__(self, schema: pa.Schema) -> None:
        self._hash = xxhash.xxh3_128()
        for field in schema:
            self._text(f"{field.name}\0{field.type}\0")

    def update(self, batch: pa.RecordBatch) -> None:
        for column in batch.columns:
            self._array(column)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def _array(self, array: pa.Array) -> None:
        """Length, which items are null, and the content of those that are not."""
        self._text(f"{len(array)} {array.null_count}\0")
        if array.null_count:
            self._numbers(array.is_null().cast(pa.uint8()))
            array = array.drop_null()
        kind = array.type
        if pa.types.is_null(kind):
            return
        if pa.types.is_struct(kind):
            for child in array.flatten():
                self._array(child)
        elif pa.types.is_list(kind):
            self._lengths(bounds(array))
            self._array(array.flatten())
        elif pa.types.is_fixed_size_list(kind):
            self._array(array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            ends = bounds(array)
            self._lengths(ends)
            self._hash.update(memoryview(array.buffers()[2] or b"")[ends[0] : ends[-1]])
        else:
            self._numbers(array.cast(pa.uint8()) if pa.types.is_boolean(kind) else array)

    def _numbers(self, array: pa.Array) -> None:
        """Values of a fixed byte width, without nulls."""
        width = array.type.bit_width // 8
        data = array.buffers()[1]
        if data is not None:
            self._hash.update(memoryview(data)[array.offset * width : (array.offset + len(array)) * width])

    def _lengths(self, ends: np.ndarray) -> None:
        self._hash.update(np.diff(ends).astype(np.int64).data)

    def _text(self, text: str) -> None:
        self._hash.update(text.encode())


def fingerprint_of(batch: pa.RecordBatch) -> str:
    """Of one batch alone."""
    found = Fingerprint(batch.schema)
    found.update(batch)
    return found.hexdigest()


def bounds(array: pa.Array) -> np.ndarray:
    """Where in their joined values the items of a text, binary or list array begin, and the last one ends: int32 [n + 1].

    By the buffer of 32-bit offsets: pyarrow.compute takes longer to import than all else of planning a small run.
    """
    offsets = array.buffers()[1]
    if offsets is None or len(array) == 0:
        return np.zeros(1, np.int32)
    return np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
