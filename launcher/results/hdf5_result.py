"""Hdf5Result: the file of a result, or its index, open: what it says of the result as a whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jobs.errors import DamageError, InputError, RunError
from jobs.gather.hdf5_file import UNREADABLE
from jobs.gather.result_file import MISSING
from jobs.storage.seals import HDF5
from launcher.results.table import Table

if TYPE_CHECKING:
    import h5py


class Hdf5Result:
    """Closed by ``close``."""

    HAS = "status"
    """The dataset without which it is none."""
    LOOKS_AT_ALL = True
    """Opens all that is there at once, so that damage shows then, and not later."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where the file is no result, DamageError where HDF5 cannot read it."""
        import h5py

        self.path = path.absolute()  # whoever opened it may go to another folder
        try:
            # Without HDF5's locks, which some network file systems refuse: a result that is there is never written to.
            self._file = h5py.File(path, "r", locking=False)
            if self.LOOKS_AT_ALL:
                self._file.visititems(lambda name, item: None)
            is_result = "complete" in self._file.attrs and self.HAS in self._file
        except UNREADABLE as error:
            with path.open("rb") as file:
                if file.read(len(HDF5)) != HDF5:
                    raise InputError(f"{path}: not a result (no HDF5 file); valid: a result.h5, or a run") from None
            raise DamageError(f"{path}: HDF5 cannot read it ({error}); `launcher gather` makes it again") from error
        if not is_result:
            self.close()
            raise InputError(f"{path}: an HDF5 file, but not a result of `launcher gather`")

    def __reduce__(self) -> "tuple[Callable[..., Hdf5Result], tuple[type[Self], Path, float | None]]":
        """In another process (a DataLoader's worker) it is the same file, which is opened there."""
        return reopened, (type(self), self.path, self.gathered_at)

    def close(self) -> None:
        self._file.close()

    @property
    def complete(self) -> bool:
        return bool(self._file.attrs["complete"])

    @property
    def gathered_at(self) -> float | None:
        """When it was made; another one in its place has another time."""
        return _gathered_at(self._file)

    def was_replaced(self) -> bool:
        """Whether another result is in its place now."""
        import h5py

        try:
            with h5py.File(self.path, "r", locking=False) as file:
                return _gathered_at(file) != self.gathered_at
        except UNREADABLE:
            return False

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


def _gathered_at(file: "h5py.File") -> float | None:
    found: float | None = json.loads(file.attrs["provenance"]).get("gathered")
    return found


def reopened(kind: type[Hdf5Result], path: Path, gathered: float | None) -> Any:
    """Raises RunError where the result has been made again since."""
    found = kind(path)
    if found.gathered_at != gathered:
        found.close()
        raise gathered_again(path)
    return found


def gathered_again(path: Path) -> RunError:
    return RunError(f"{path}: was gathered again since it was opened: open it anew")


def shortfall(table: Table) -> str:
    """What keeps a result from being complete, in words, with what to do."""
    missing, rows = int(np.count_nonzero(table.status(0, len(table)) == MISSING)), len(table)
    if not missing:
        return (
            f"{table.path}: not complete, more samples failed than node.max_failed_samples allows. `launcher errors` lists "
            "them, `launcher status` says how to go on"
        )
    lacks = f"{missing} of {rows} samples have no result"
    return f"{table.path}: not complete, {lacks}. `launcher rerun` and `launcher gather` complete it"
