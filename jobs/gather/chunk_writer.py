"""ChunkWriter: the rows of a compressed dataset on their way: a chunk is compressed once, when it is full."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py

# A chunk is compressed, and read, as a whole. HDF5 keeps this much of a dataset in memory, so rows in order are read once.
_CHUNK = 1 << 19
# More than HDF5 takes for one chunk, nearly.
_MOST = 1 << 31
_LEVEL = 1


def create_compressed(file: "h5py.File", name: str, dtype: str, shape: Sequence[int]) -> "h5py.Dataset | None":
    """Makes a dataset in compressed chunks of whole rows; None where it holds nothing, or a row is too large for that."""
    row_bytes = np.dtype(dtype).itemsize * int(np.prod(shape[1:], dtype=np.int64))
    if not row_bytes or not shape[0] or row_bytes > _MOST:
        return None
    chunks = (min(max(_CHUNK // row_bytes, 1), shape[0]), *shape[1:])
    # Levels above the first cost twice the time for a tenth of the bytes; the bytes of numbers apart, half of these go.
    filters = {"compression": "gzip", "compression_opts": _LEVEL, "shuffle": True}
    return file.create_dataset(name, tuple(shape), np.dtype(dtype), chunks=chunks, track_times=False, **filters)


class ChunkWriter:
    """Takes rows in ascending order; those that are left out are zeros."""

    def __init__(self, dataset: "h5py.Dataset") -> None:
        self._dataset = dataset
        self._rows = np.zeros(dataset.chunks, dataset.dtype)
        self._start = self._stop = 0

    def put(self, first: int, data: memoryview) -> None:
        rows = np.frombuffer(data, self._rows.dtype).reshape(-1, *self._rows.shape[1:])
        while len(rows):
            if first >= self._start + len(self._rows):
                self.flush()
                self._start = first - first % len(self._rows)
            begin = first - self._start
            some = rows[: len(self._rows) - begin]
            self._rows[begin : begin + len(some)] = some
            self._stop, rows, first = first + len(some), rows[len(some) :], first + len(some)

    def flush(self) -> None:
        """Writes what has been put into the chunk at hand."""
        if self._stop > self._start:
            self._dataset[self._start : self._stop] = self._rows[: self._stop - self._start]
            self._rows[...] = 0
