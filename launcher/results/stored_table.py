"""StoredTable: what the attempts of a run have stored, as a result that nobody has gathered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import RunError
from jobs.gather.result_rows import text
from jobs.gather.stored_rows import StoredRows
from jobs.storage.ragged_rows import row_bounds
from jobs.storage.records import Output
from jobs.storage.rundir import RunDir


class StoredItems:
    """An output of variable length."""

    def __init__(self, table: "StoredTable", name: str) -> None:
        self._table = table
        self._name = name

    @property
    def encoding(self) -> str | None:
        return self._table.outputs[self._name].encoding

    def __len__(self) -> int:
        return len(self._table)

    def offsets(self) -> np.ndarray:
        return row_bounds(self.lengths(0, len(self)))

    def values(self) -> np.ndarray:
        return self._table.stored.items(self._name, 0, len(self))[0]

    def lengths(self, start: int, stop: int) -> np.ndarray:
        return self._table.stored.lengths(self._name, start, stop)

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        items, lengths = self._table.stored.items(self._name, start, stop)
        return items, row_bounds(lengths)


class StoredArray:
    """An output of fixed length, of which rows are read as of an array, or of h5py's dataset."""

    def __init__(self, table: "StoredTable", name: str) -> None:
        output = table.outputs[name]
        self.dtype = np.dtype(output.dtype)
        self.shape = (len(table), *output.shape)
        self._table = table
        self._name = name

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getitem__(self, key: Any) -> Any:
        """As of an array: of its first axis only the rows that are chosen are read."""
        keys = key if isinstance(key, tuple) else (key,)
        if not keys or keys[0] is Ellipsis:
            return self._rows(0, len(self))[keys]
        chosen, *rest = keys
        return self._chosen(chosen, tuple(rest))

    def _chosen(self, chosen: Any, rest: tuple[Any, ...]) -> Any:
        if isinstance(chosen, slice):
            rows = range(len(self))[chosen]
            first, stop = (min(rows), max(rows) + 1) if rows else (0, 0)
            return self._rows(first, stop)[(slice(None, None, rows.step), *rest)]
        if np.ndim(chosen) == 0 and not isinstance(chosen, bool | np.bool_):
            row = range(len(self))[chosen]
            return self._rows(row, row + 1)[(0, *rest)]
        picked = np.arange(len(self))[chosen]
        found = np.empty((len(picked), *self.shape[1:]), self.dtype)
        for at, row in enumerate(picked.tolist()):
            found[at] = self._rows(row, row + 1)[0]
        return found[(slice(None), *rest)]

    def _rows(self, start: int, stop: int) -> np.ndarray:
        return self._table.stored.fixed(self._name, start, stop)


class StoredTable:
    """The rows of a run's result, or of one of several, where they lie."""

    def __init__(self, path: Path, manifest: str | None) -> None:
        self.path = path.absolute()  # files are opened when they are read, maybe from another folder
        self._manifest = manifest
        self.stored = StoredRows.of(RunDir(self.path), manifest)

    def __reduce__(self) -> "tuple[Callable[..., StoredTable], tuple[Path, str | None, str]]":
        """In another process (a DataLoader's worker) the journals are read again."""
        return _reopened, (self.path, self._manifest, self.stored.seal)

    def close(self) -> None:
        self.stored.close()

    def __len__(self) -> int:
        return self.stored.rows

    @property
    def complete(self) -> bool:
        return self.stored.complete

    @property
    def shortfall(self) -> str:
        return f"{self.path}: {'; '.join(self.stored.shortfall)}"

    @property
    def outputs(self) -> dict[str, Output]:
        return self.stored.outputs

    def provenance(self) -> dict[str, Any]:
        return self.stored.provenance()

    def summary(self) -> dict[str, Any]:
        if self.stored.folds():
            raise RunError(f"{self.path}: its Job folds the results, which `launcher gather {self.path}` does")
        return {}

    def errors(self) -> dict[str, Any]:
        failed = list(self.stored.failed())
        return {
            "row": np.array([one.row for one in failed], np.int64),
            "attempts": np.array([one.attempts for one in failed], np.int32),
            "kind": [text(one.kind).decode() for one in failed],
            "message": [text(one.message).decode() for one in failed],
        }

    def status(self, start: int, stop: int) -> np.ndarray:
        return self.stored.status[start:stop]

    def ids(self, start: int, stop: int) -> np.ndarray:
        return self.stored.ids(start, stop)

    def fixed(self, name: str) -> StoredArray:
        return StoredArray(self, name)

    def mapped(self, name: str) -> StoredArray:
        return self.fixed(name)

    def ragged(self, name: str) -> StoredItems:
        return StoredItems(self, name)


def _reopened(path: Path, manifest: str | None, seal: str) -> StoredTable:
    """Raises RunError where rows were done again since."""
    found = StoredTable(path, manifest)
    if found.stored.seal != seal:
        found.close()
        raise RunError(f"{path}: more was computed since it was opened: open it anew")
    return found
