"""Hdf5Table: a result.h5, open."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.errors import DamageError, InputError, RunError
from jobs.gather.hdf5_file import UNREADABLE
from jobs.gather.result_file import MISSING
from jobs.storage.outputs import NOT_OUTPUTS
from jobs.storage.records import Output
from jobs.storage.seals import HDF5
from launcher.results.ragged import Ragged

if TYPE_CHECKING:
    import h5py


class Hdf5Items:
    """A group of values and offsets."""

    def __init__(self, group: "h5py.Group") -> None:
        self._values: h5py.Dataset = group["values"]
        self.encoding: str | None = group.attrs.get("encoding")
        self._offsets: np.ndarray = group["offsets"][()]

    def __reduce__(self) -> "tuple[Callable[..., Hdf5Items], tuple[Path, str, float | None]]":
        file = self._values.file
        return _reopened_items, (Path(file.filename).absolute(), self._values.parent.name, _gathered_at(file))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def offsets(self) -> np.ndarray:
        return self._offsets

    def values(self) -> np.ndarray:
        return np.asarray(self._values[()])

    def lengths(self, start: int, stop: int) -> np.ndarray:
        return np.diff(self._offsets[start : stop + 1])

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        bounds = self._offsets[start : stop + 1]
        return self._values[bounds[0] : bounds[-1]], bounds - bounds[0]


class Hdf5Table:
    """The rows of a result as gather has written them."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where the file is no result, DamageError where HDF5 cannot read it."""
        import h5py

        self.path = path.absolute()  # whoever opened it may go to another folder
        try:
            # Without HDF5's locks, which some network file systems refuse: a result that is there is never written to.
            self._file = h5py.File(path, "r", locking=False)
            self._file.visititems(lambda name, item: None)  # opens all that is there: damage shows now, and not later
            is_result = "complete" in self._file.attrs and "status" in self._file
        except UNREADABLE as error:
            with path.open("rb") as file:
                if file.read(len(HDF5)) != HDF5:
                    raise InputError(f"{path}: not a result (no HDF5 file); valid: a result.h5, or a run") from None
            raise DamageError(f"{path}: HDF5 cannot read it ({error}); `launcher gather` makes it again") from error
        if not is_result:
            self.close()
            raise InputError(f"{path}: an HDF5 file, but not a result of `launcher gather`")

    def __reduce__(self) -> "tuple[Callable[..., Hdf5Table], tuple[Path, float | None]]":
        """In another process (a DataLoader's worker) it is the same file, which is opened there."""
        return _reopened, (self.path, _gathered_at(self._file))

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return int(self._file["status"].shape[0])

    @property
    def complete(self) -> bool:
        return bool(self._file.attrs["complete"])

    @property
    def shortfall(self) -> str:
        missing = int(np.count_nonzero(self.status(0, len(self)) == MISSING))
        if not missing:
            return (
                f"{self.path}: not complete, more samples failed than node.max_failed_samples allows. `launcher errors` lists "
                "them, `launcher status` says how to go on"
            )
        return (
            f"{self.path}: not complete, {missing} of {len(self)} samples have no result. `launcher rerun` and "
            "`launcher gather` complete it"
        )

    @cached_property
    def outputs(self) -> dict[str, Output]:
        names = [name for name in sorted(self._file) if name not in NOT_OUTPUTS]
        try:
            return {name: _form(name, self._file[name]) for name in names}
        except (*UNREADABLE, AttributeError) as error:  # a group, where an array should be
            raise DamageError(
                f"{self.path}: its outputs are damaged ({error}); `launcher gather` makes it again"
            ) from error

    def provenance(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._file.attrs["provenance"])
        except (ValueError, KeyError) as error:
            raise DamageError(f"{self.path}: its provenance is damaged; `launcher gather` makes it again") from error
        return found

    def summary(self) -> dict[str, Any]:
        import h5py

        items = self._file["summary"].items()
        return {name: (item.asstr() if h5py.check_string_dtype(item.dtype) else item)[()] for name, item in items}

    def errors(self) -> dict[str, Any]:
        group = self._file["errors"]
        numbers = {name: group[name][()] for name in ("row", "attempts")}
        return {**numbers, **{name: Ragged(Hdf5Items(group[name]))[:] for name in ("kind", "message")}}

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
        return Ragged(Hdf5Items(self._file["id"]))

    def fixed(self, name: str) -> "h5py.Dataset":
        return self._file[name]

    def mapped(self, name: str) -> Any:
        dataset = self._file[name]
        offset = dataset.id.get_offset()
        if not offset or not dataset.size:  # in chunks, or nowhere
            return dataset
        # Not by its name, which may be another result's by now, with other offsets.
        opened = f"/proc/self/fd/{self._file.id.get_vfd_handle()}"
        return np.memmap(opened, dataset.dtype, "r", offset, dataset.shape)

    def ragged(self, name: str) -> Hdf5Items:
        return Hdf5Items(self._file[name])


def _is_ragged(item: Any) -> bool:
    return "offsets" in item if hasattr(item, "keys") else False


def _form(name: str, item: Any) -> Output:
    if not _is_ragged(item):
        return Output(name, False, item.dtype.str, item.shape[1:])
    values = item["values"]
    return Output(name, True, values.dtype.str, values.shape[1:], item.attrs.get("encoding"))


def _gathered_at(file: "h5py.File") -> float | None:
    """When a result was made; another one in its place has another time."""
    found: float | None = json.loads(file.attrs["provenance"]).get("gathered")
    return found


def _reopened(path: Path, gathered: float | None) -> Hdf5Table:
    """Raises RunError where the result has been made again since."""
    found = Hdf5Table(path)
    if _gathered_at(found._file) != gathered:
        found.close()
        raise RunError(f"{path}: was gathered again since it was opened: open it anew")
    return found


def _reopened_items(path: Path, name: str, gathered: float | None) -> Hdf5Items:
    return Hdf5Items(_reopened(path, gathered)._file[name])
