"""ArrayRows: rows of arrays in HDF5 files and Zarr stores, which stay open, read in blocks that are kept for a while.

A block is a chunk as it is stored, since less of it cannot be read, or some rows of what has no chunks.
"""

import errno
import math
import os
from functools import lru_cache
from typing import Any

import numpy as np

from jobs.references.array_group import open_group
from jobs.references.block_cache import BlockCache

_OPEN_GROUPS = 32
_CACHE_BYTES = 64 << 20
# A larger chunk would push out all others: then rows are read one by one.
_MOST_BLOCK = 32 << 20
# Of an array without chunks.
_LEAST_READ = 256 << 10
# Rows of which nobody knows the size, texts and lists of any length, are read so many at a time.
_OF_ANY_SIZE = 64

_groups = lru_cache(maxsize=_OPEN_GROUPS)(open_group)
_blocks = BlockCache(_CACHE_BYTES)


def _forget() -> None:
    _groups.cache_clear()
    _blocks.clear()


# What HDF5 has open is not to be used on both sides of a fork.
os.register_at_fork(after_in_child=_forget)


def read_hdf5(name: str, row: int, place: str) -> Any:
    """A row of a dataset: an array, or a scalar of numpy. Raises OSError."""
    return _read("hdf5", name, row, place)


def read_zarr(name: str, row: int, place: str) -> Any:
    """A row of an array. Raises OSError."""
    return _read("zarr", name, row, place)


def _read(kind: str, name: str, row: int, place: str) -> Any:
    array = _groups(kind, place).get(name)
    if array is None or row >= array.shape[0]:
        has = "no array of that name" if array is None else f"{array.shape[0]} rows of it"
        what = (
            f"has {has}, and row {row} of {name} is asked for: it has changed since the run was planned; plan it anew"
        )
        raise OSError(errno.EIO, what, place)
    rows = block_rows(array)
    start = row // rows * rows
    value = _blocks.get((kind, place, name, start), lambda: np.asarray(array[start : start + rows]))[row - start]
    return value.copy() if isinstance(value, np.ndarray) else value  # it is the Job's, which may change it


def block_rows(array: Any) -> int:
    """How many rows are read at a time."""
    chunked = array.chunks[0] if array.chunks else None
    if array.dtype.kind in "OT":
        return min(chunked or _OF_ANY_SIZE, _OF_ANY_SIZE)
    size = max(1, array.dtype.itemsize * math.prod(array.shape[1:]))
    rows = chunked or max(1, _LEAST_READ // size)
    return rows if rows * size <= _MOST_BLOCK else 1
