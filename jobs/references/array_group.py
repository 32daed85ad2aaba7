"""ArrayGroup: the arrays right in a group of an HDF5 file or a Zarr store, by their names; opened to read."""

import errno
import os
from collections.abc import Mapping
from typing import Any

KINDS = ("hdf5", "zarr")
INSIDE = "::"
"""Between the path of a file and the path of a group in it."""
ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
"""A folder with one of these is a Zarr store."""
# The only array of a store that is no group.
ALONE = "values"


def open_group(kind: str, place: str) -> Mapping[str, Any]:
    """The arrays of a place, PATH::GROUP or PATH; each has shape, dtype and chunks, and is read by slices.

    Raises OSError where there is no such group, or something is missing of it.
    """
    path, _, group = place.partition(INSIDE)
    try:
        found = _open_hdf5(path, group) if kind == "hdf5" else _open_zarr(path, group)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # what they raise of damage, too
        raise OSError(f"{place}: cannot be opened: {error}") from error
    return found


def _open_hdf5(path: str, group: str) -> Mapping[str, Any]:
    import h5py

    # Without a lock: many tasks read one file, on file systems that know none, or where the user may not write.
    found = h5py.File(path, "r", locking=False)[group or "/"]
    if not isinstance(found, h5py.Group):
        raise KeyError(f"{group} is no group")
    kinds = {name: found.get(name, getclass=True) for name in found}
    arrays = {name: found[name] for name, kind in kinds.items() if kind is h5py.Dataset and found[name].shape}
    for name, array in arrays.items():
        _check_sources(name, array, os.path.dirname(path))
    return arrays


def _check_sources(name: str, array: Any, folder: str) -> None:
    """Of a virtual dataset whose files are missing HDF5 gives fill values, and says nothing."""
    for source in array.virtual_sources() if array.is_virtual else ():
        file = os.path.join(folder, source.file_name)
        if source.file_name != "." and not os.path.exists(file):
            raise FileNotFoundError(errno.ENOENT, f"is missing, of which {name} is made", file)


def _open_zarr(path: str, group: str) -> Mapping[str, Any]:
    import zarr

    found = zarr.open(path, mode="r", path=group)
    if isinstance(found, zarr.Group):
        return {name: array for name, array in sorted(found.arrays()) if array.shape}
    if group:
        raise KeyError(f"{group} is no group")
    return {ALONE: found}


def is_text(kind: str, array: Any) -> bool:
    """Whether its elements are texts. Zarr's arrays of objects may be of bytes, or of anything."""
    if kind == "zarr":
        return array.dtype.kind in "UT"
    import h5py

    return h5py.check_string_dtype(array.dtype) is not None
