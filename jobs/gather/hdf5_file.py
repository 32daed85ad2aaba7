"""HDF5 files whose datasets are places in a file: contiguous, page-aligned, there at once and not filled."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises where a file is damaged."""
# Page-aligned datasets let file systems that share blocks (XFS, btrfs) copy without moving data.
ALIGNMENT = 4096


def create_file(path: Path) -> "h5py.File":
    """An empty HDF5 file, open, whose datasets will be page-aligned.

    Without HDF5's own locks: some network file systems refuse them, or mix them up with ours.
    """
    import h5py

    return h5py.File(path, "w", locking=False, alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What HDF5 could not write is an OSError with a number; h5py raises RuntimeError where it closes a file, or gives none."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        said = re.search(r"errno = (\d+)", str(error))
        number = int(said[1]) if said else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def create_dataset(file: "h5py.File", name: str, dtype: str, shape: Sequence[int]) -> int:
    """Makes a contiguous dataset whose space exists at once and is not filled; returns its offset in the file, bytes.

    A dataset without elements has no place in the file; its offset is 0.
    """
    import h5py

    space = h5py.h5s.create_simple(tuple(shape))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # the same data gives the same bytes
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, properties, links))
    return int(dataset.id.get_offset() or 0)
