"""SplitTable: a result in several files, open as one. Its index says which file has which rows."""

import resource
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import DamageError
from jobs.gather.result_index import FILES, IndexedFile, indexed_files, problem, read_at, read_index
from jobs.storage.ragged_rows import row_bounds
from jobs.storage.records import Output
from jobs.storage.seals import read_seal
from launcher.results.hdf5_result import Hdf5Result, gathered_again, shortfall
from launcher.results.hdf5_table import Hdf5Items, Hdf5Table
from launcher.results.row_array import RowArray
from launcher.results.row_items import RowItems

# Of the files that a process may have open, one in so many may be those of a result, each twice: it is mapped, too.
_SHARE = 8
_LEAST = 8


class SplitItems(RowItems["SplitTable"]):
    """An output of variable length."""

    def lengths(self, start: int, stop: int) -> np.ndarray:
        return self._table.joined(start, stop, lambda table, a, b: table.items(self._name).lengths(a, b))

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        read = self._table.pieces(start, stop, lambda table, a, b: table.items(self._name).rows(a, b))
        items, bounds = zip(*read, strict=True)
        return np.concatenate(items), row_bounds(np.concatenate([np.diff(one) for one in bounds]))


class _File(Hdf5Table):
    """One of the files; whoever reads row after row of it asks for the same columns again and again."""

    LOOKS_AT_ALL = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._maps: dict[str, Any] = {}
        self._items: dict[str, Hdf5Items] = {}

    def close(self) -> None:
        self._maps.clear()
        self._items.clear()  # they know this table: without that only the garbage collector would close what is mapped
        super().close()

    def mapped(self, name: str) -> Any:
        if name not in self._maps:
            self._maps[name] = super().mapped(name)
        return self._maps[name]

    def items(self, name: str) -> Hdf5Items:
        """As ``ragged``, but offsets are read as they are needed: of many files all of them would be much."""
        if name not in self._items:
            self._items[name] = self.ragged(name, whole=False)
        return self._items[name]


class SplitTable(Hdf5Result):
    """The rows of all files in order. A file is opened when something of it is read."""

    HAS = FILES

    def __init__(self, path: Path) -> None:
        """Raises DamageError where a file is gone, or another one is in its place; else as any result."""
        super().__init__(path)
        self._files = read_index(self.path)
        self._starts = [file.start for file in self._files]
        self._seal = read_seal(self.path) or ""
        self._opened: OrderedDict[int, _File] = OrderedDict()
        self._room = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE, _LEAST)
        for file in self._files:
            self._check(file)

    def _check(self, file: IndexedFile) -> None:
        """Raises DamageError where a file is not there as it was, RunError where that is since the result was made again."""
        if found := problem(file, self._seal):
            if self.was_replaced():
                raise gathered_again(self.path)
            raise DamageError(f"{found}; bring it back, or `launcher gather` makes it again")

    def close(self) -> None:
        for table in self._opened.values():
            table.close()
        self._opened.clear()
        super().close()

    def __len__(self) -> int:
        return self._files[-1].stop

    @property
    def shortfall(self) -> str:
        return shortfall(self)

    @cached_property
    def outputs(self) -> dict[str, Output]:
        return self._open(0).outputs

    def errors(self) -> dict[str, Any]:
        found: dict[str, list[Any]] = {name: [] for name in ("row", "attempts", "kind", "message")}
        for number, file in enumerate(self._files):
            own = self._open(number).errors()
            found["row"] += (own["row"] + file.start).tolist()
            for name in ("attempts", "kind", "message"):
                found[name] += list(own[name])
        return {**found, "row": np.array(found["row"], np.int64), "attempts": np.array(found["attempts"], np.int32)}

    def status(self, start: int, stop: int) -> np.ndarray:
        return self.joined(start, stop, Hdf5Table.status)

    def ids(self, start: int, stop: int) -> np.ndarray:
        return self.joined(start, stop, Hdf5Table.ids)

    def fixed(self, name: str) -> RowArray:
        return self._array(name, lambda table, start, stop: table.fixed(name)[start:stop])

    def mapped(self, name: str) -> RowArray:
        return self._array(name, lambda table, start, stop: table.mapped(name)[start:stop])

    def _array(self, name: str, read: Callable[[_File, int, int], np.ndarray]) -> RowArray:
        output = self.outputs[name]
        return RowArray(output.dtype, (len(self), *output.shape), partial(self.joined, read=read))

    def ragged(self, name: str) -> SplitItems:
        return SplitItems(self, name)

    def joined(self, start: int, stop: int, read: Callable[[_File, int, int], np.ndarray]) -> np.ndarray:
        """Rows ``[start, stop)``, each file's own as ``read`` gives them by their numbers in it."""
        found = list(self.pieces(start, stop, read))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def pieces(self, start: int, stop: int, read: Callable[[_File, int, int], Any]) -> Iterator[Any]:
        """What ``read`` gives of each file that has some of these rows; of one where there are no rows."""
        number = max(bisect_right(self._starts, start) - 1, 0)
        while True:
            file, table = self._files[number], self._open(number)
            yield read(table, max(start, file.start) - file.start, min(stop, file.stop) - file.start)
            if stop <= file.stop:
                return
            number += 1

    def _open(self, number: int) -> _File:
        table = self._opened.get(number)
        if table is None:
            self._check(self._files[number])  # again: another gather may have taken it away
            while len(self._opened) >= self._room:
                self._opened.popitem(last=False)[1].close()
            table = self._opened[number] = read_at(self._files[number].path, _File)
        self._opened.move_to_end(number)
        return table


def open_result(path: Path) -> Hdf5Table | SplitTable:
    """A result in one file, or in several. Raises InputError where it is none, DamageError where it cannot be read."""
    return SplitTable(path) if indexed_files(path) else Hdf5Table(path)
