"""Columns: a result as arrays in a folder, for formats that have no more than arrays.

A column is NAME; where its rows differ in length NAME/values with all items end to end and NAME/offsets: row i has items
offsets[i] to offsets[i + 1]. Text is UTF-8 bytes.
"""

from abc import abstractmethod
from typing import Protocol

import numpy as np

from jobs.storage.outputs import Column
from launcher.export.writer import Contents, StepWriter
from launcher.results.portions import Portion


class Growing(Protocol):
    """An array that rows are added to."""

    def add(self, rows: np.ndarray) -> None: ...

    def close(self) -> None: ...


class _Ragged:
    def __init__(self, values: Growing, offsets: Growing) -> None:
        self.values = values
        self.offsets = offsets
        offsets.add(np.zeros(1, np.int64))
        self._end = 0

    def add(self, items: np.ndarray, lengths: np.ndarray) -> None:
        self.values.add(items)
        self.offsets.add(self._end + np.cumsum(lengths, dtype=np.int64))
        self._end += int(lengths.sum())


class FolderOfColumns(StepWriter):
    """A Writer of arrays; what an array is, a subclass says."""

    def __init__(self, contents: Contents) -> None:
        self._plain = {"status": self.column("status", "|u1")}
        self._ragged: dict[str, _Ragged] = {}
        if contents.ids_are_text:
            self._add_ragged("id", "|u1", ())
        else:
            self._plain["id"] = self.column("id", "<i8")
        for output in contents.outputs:
            if output.ragged:
                self._add_ragged(output.name, output.dtype, output.shape)
            else:
                self._plain[output.name] = self.column(output.name, output.dtype, output.shape)

    def _add_ragged(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        values, offsets = self.column(f"{name}/values", dtype, shape), self.column(f"{name}/offsets", "<i8")
        self._ragged[name] = _Ragged(values, offsets)

    @abstractmethod
    def column(self, name: str, dtype: str, shape: tuple[int, ...] = ()) -> Growing:
        """An empty array of rows of this shape."""

    def add(self, portion: Portion) -> None:
        for name, column in {"id": _ids(portion.ids), "status": Column(portion.status), **portion.columns}.items():
            if column.lengths is None:
                self._plain[name].add(column.data)
            else:
                self._ragged[name].add(column.data, column.lengths)

    def close(self) -> None:
        for one in self._ragged.values():
            one.values.close()
            one.offsets.close()
        for column in self._plain.values():
            column.close()


def _ids(ids: np.ndarray) -> Column:
    if ids.dtype != object:
        return Column(ids)
    text = [one.encode() for one in ids]
    return Column(np.frombuffer(b"".join(text), np.uint8), np.array([len(one) for one in text], np.int64))
