"""StoredTable: what the attempts of a run have stored, as a result that nobody has gathered."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import RunError
from jobs.gather.result_rows import text
from jobs.gather.stored_rows import StoredRows
from jobs.storage.ragged_rows import row_bounds
from jobs.storage.records import Output
from jobs.storage.rundir import RunDir
from launcher.results.row_array import RowArray


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

    def fixed(self, name: str) -> RowArray:
        output = self.outputs[name]
        return RowArray(output.dtype, (len(self), *output.shape), partial(self.stored.fixed, name))

    def mapped(self, name: str) -> RowArray:
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
