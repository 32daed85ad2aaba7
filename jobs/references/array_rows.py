"""ArrayRows: rows of arrays in HDF5 files and Zarr stores, which stay open, read in blocks that are kept for a while.

A block is a chunk as it is stored, since less of it cannot be read, or some rows of what has no chunks.
"""

import copy
import errno
import math
import os
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from jobs.references.array_group import open_group
from jobs.references.block_cache import BlockCache

_OPEN_GROUPS, _OPEN_ARRAYS = 32, 256
_CACHE_BYTES = 64 << 20
# A larger chunk would push out all others: then rows are read one by one.
_MOST_BLOCK = 32 << 20
# Of an array without chunks.
_LEAST_READ = 256 << 10
_CHANGED = "it has changed since the run was planned; plan it anew"

_groups = lru_cache(maxsize=_OPEN_GROUPS)(open_group)


class _Array(NamedTuple):
    """An open array; to ask it for these takes longer than to read a row."""

    array: Any
    length: int
    block_rows: int


@lru_cache(maxsize=_OPEN_ARRAYS)
def _opened(kind: str, place: str, name: str) -> _Array:
    array = _groups(kind, place).get(name)
    if array is None:
        raise OSError(errno.EIO, f"has no array {name}: {_CHANGED}", place)
    return _Array(array, array.shape[0], block_rows(kind, array))


_blocks = BlockCache(_CACHE_BYTES)


def _forget() -> None:
    _opened.cache_clear()
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
    array, length, rows = _opened(kind, place, name)
    if row >= length:
        raise OSError(errno.EIO, f"has {length} rows of {name}, and row {row} is asked for: {_CHANGED}", place)
    start = row // rows * rows
    value = _blocks.get((kind, place, name, start), lambda: np.asarray(array[start : start + rows]))[row - start]
    if not isinstance(value, np.ndarray | np.void | list):
        return value
    # It is the Job's, which may change it; what it holds, too.
    return copy.deepcopy(value) if isinstance(value, list) or value.dtype.hasobject else value.copy()


def block_rows(kind: str, array: Any) -> int:
    """How many rows are read at a time."""
    chunked = array.chunks[0] if array.chunks else None
    if array.dtype.hasobject or array.dtype.kind == "T":
        # Rows of any size. Zarr unpacks the chunk in any case, HDF5 has each row by itself.
        return chunked if kind == "zarr" and chunked else 1
    size = max(1, array.dtype.itemsize * math.prod(array.shape[1:]))
    rows = chunked or max(1, _LEAST_READ // size)
    return rows if rows * size <= _MOST_BLOCK else 1
