"""ResultDataset: the samples of a result one by one, as torch's DataLoader takes them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jobs.gather.result_file import OK
from launcher.results.ragged import Ragged
from launcher.results.results import Results


class ResultDataset:
    """A map-style dataset: sample i is a dict of column name -> array, number, str or bytes.

    It goes to workers of a DataLoader, forked or spawned: columns of fixed length are maps of the file, and what is read in
    place is read by its position, so that no two processes are in each other's way. ``rows`` are those of the samples.
    """

    def __init__(self, results: Results, columns: Iterable[str] | None, *, only_ok: bool) -> None:
        """``columns``: those that are needed; None: all outputs. Raises KeyError where there is none of a name."""
        self._results = results
        self._names = list(results.outputs if columns is None else columns)
        self.rows = np.flatnonzero(results.status == OK) if only_ok else np.arange(len(results))
        self._readers = {name: self._reader(name) for name in self._names}

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process the result is opened again: a map would be copied on the way."""
        return _remade, (self._results, self._names, self.rows)

    def _reader(self, name: str) -> Callable[[int], Any]:
        table = self._results.table
        if name in ("id", "status"):
            read = table.ids if name == "id" else table.status
            return lambda row: read(row, row + 1)[0]
        if self._results.output(name).ragged:
            return Ragged(table.ragged(name)).__getitem__
        array = table.mapped(name)
        # A copy: torch warns of memory that cannot be written to.
        return lambda row: np.array(array[row])[()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        row = int(self.rows[number])
        return {name: read(row) for name, read in self._readers.items()}


def _remade(results: Results, names: list[str], rows: np.ndarray) -> ResultDataset:
    made = ResultDataset(results, names, only_ok=False)
    made.rows = rows
    return made
