"""RowItems: an output of variable length whose rows are not in one place; how they are read is for its table to say."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np

from jobs.storage.ragged_rows import row_bounds
from launcher.results.table import Table

_Table = TypeVar("_Table", bound=Table)


class RowItems(ABC, Generic[_Table]):
    """As ``table.Items``."""

    def __init__(self, table: _Table, name: str) -> None:
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
        return self.rows(0, len(self))[0]

    @abstractmethod
    def lengths(self, start: int, stop: int) -> np.ndarray:
        """How many items rows ``[start, stop)`` have."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The items of rows ``[start, stop)`` end to end, and where each row begins and ends among these."""
