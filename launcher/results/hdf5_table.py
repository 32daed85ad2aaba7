"""Hdf5Table: a result.h5, open."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.errors import DamageError
from jobs.gather.hdf5_file import UNREADABLE
from jobs.storage.outputs import NOT_OUTPUTS
from jobs.storage.records import Output
from launcher.results.hdf5_result import Hdf5Result, shortfall
from launcher.results.ragged import Ragged

if TYPE_CHECKING:
    import h5py


class Hdf5Items:
    """A group of values and offsets; ``whole``: all offsets are read at once, for whoever reads many rows."""

    def __init__(self, table: "Hdf5Table", name: str, *, whole: bool = True) -> None:
        group = table.group(name)
        self._table = table
        self._name = name
        self._values: h5py.Dataset = group["values"]
        self.encoding: str | None = group.attrs.get("encoding")
        self._offsets: Any = group["offsets"][()] if whole else group["offsets"]

    def __reduce__(self) -> "tuple[Callable[..., Hdf5Items], tuple[Hdf5Table, str]]":
        return Hdf5Items, (self._table, self._name)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def offsets(self) -> np.ndarray:
        return np.asarray(self._offsets[()])

    def values(self) -> np.ndarray:
        return np.asarray(self._values[()])

    def lengths(self, start: int, stop: int) -> np.ndarray:
        return np.diff(self._offsets[start : stop + 1])

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        bounds = self._offsets[start : stop + 1]
        return self._values[bounds[0] : bounds[-1]], bounds - bounds[0]


class Hdf5Table(Hdf5Result):
    """The rows of a result as gather has written them."""

    def __len__(self) -> int:
        return int(self._file["status"].shape[0])

    @property
    def shortfall(self) -> str:
        return shortfall(self)

    @cached_property
    def outputs(self) -> dict[str, Output]:
        names = [name for name in sorted(self._file) if name not in NOT_OUTPUTS]
        try:
            return {name: _form(name, self._file[name]) for name in names}
        except (*UNREADABLE, AttributeError) as error:  # a group, where an array should be
            raise DamageError(
                f"{self.path}: its outputs are damaged ({error}); `launcher gather` makes it again"
            ) from error

    def errors(self) -> dict[str, Any]:
        group = self._file["errors"]
        numbers = {name: group[name][()] for name in ("row", "attempts")}
        return {**numbers, **{name: Ragged(Hdf5Items(self, f"errors/{name}"))[:] for name in ("kind", "message")}}

    def status(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._file["status"][start:stop])

    def ids(self, start: int, stop: int) -> np.ndarray:
        item = self._file["id"]
        if not _is_ragged(item):
            return np.asarray(item[start:stop])
        ids = np.empty(stop - start, object)
        ids[:] = self._id_strings[start:stop]
        return ids

    @cached_property
    def _id_strings(self) -> Ragged:
        return Ragged(Hdf5Items(self, "id"))

    def fixed(self, name: str) -> "h5py.Dataset":
        return self._file[name]

    def mapped(self, name: str) -> Any:
        dataset = self._file[name]
        offset, size = dataset.id.get_offset(), dataset.size * dataset.dtype.itemsize
        if not offset or not size:  # in chunks, or nowhere
            return dataset
        return self._bytes[offset : offset + size].view(dataset.dtype).reshape(dataset.shape)

    @cached_property
    def _bytes(self) -> np.ndarray:
        """The file, mapped once for all columns; not by its name, which may be another result's by now, with other offsets."""
        return np.memmap(f"/proc/self/fd/{self._file.id.get_vfd_handle()}", np.uint8, "r")

    def close(self) -> None:
        vars(self).pop("_bytes", None)  # what was handed out of it stays mapped
        super().close()

    def ragged(self, name: str, *, whole: bool = True) -> Hdf5Items:
        return Hdf5Items(self, name, whole=whole)

    def group(self, name: str) -> "h5py.Group":
        return self._file[name]


def _is_ragged(item: Any) -> bool:
    return "offsets" in item if hasattr(item, "keys") else False


def _form(name: str, item: Any) -> Output:
    if not _is_ragged(item):
        return Output(name, False, item.dtype.str, item.shape[1:])
    values = item["values"]
    return Output(name, True, values.dtype.str, values.shape[1:], item.attrs.get("encoding"))
