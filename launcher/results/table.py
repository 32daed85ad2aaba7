"""Table: what an opened result needs of whatever holds its rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jobs.storage.records import Output


class Items(Protocol):
    """An output of variable length; ``encoding`` is "utf-8" or "bytes" where its rows are strings."""

    @property
    def encoding(self) -> str | None: ...

    def __len__(self) -> int:
        """How many rows there are."""

    def offsets(self) -> np.ndarray:
        """Where rows begin and end among the items: int64 [rows + 1]."""

    def values(self) -> np.ndarray:
        """The items of all rows, end to end."""

    def lengths(self, start: int, stop: int) -> np.ndarray:
        """How many items rows ``[start, stop)`` have."""

    def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The items of rows ``[start, stop)`` end to end, and where each row begins and ends among these."""


class Table(Protocol):
    """The rows of a result; ``outputs`` by name, sorted. What is damaged raises DamageError when it is read."""

    @property
    def path(self) -> Path: ...

    @property
    def complete(self) -> bool: ...

    @property
    def shortfall(self) -> str:
        """What keeps it from being complete, in words."""

    @property
    def outputs(self) -> Mapping[str, Output]: ...

    def __len__(self) -> int:
        """How many rows there are."""

    def provenance(self) -> dict[str, Any]: ...

    def summary(self) -> dict[str, Any]: ...

    def errors(self) -> dict[str, Any]:
        """The columns row, kind, message, attempts of the failed samples."""

    def status(self, start: int, stop: int) -> np.ndarray: ...

    def ids(self, start: int, stop: int) -> np.ndarray: ...

    def fixed(self, name: str) -> Any:
        """An output of fixed length, of which slices are read as of an array: h5py's dataset, or one like it."""

    def mapped(self, name: str) -> Any:
        """An output of fixed length, of which single rows are read fast, and in a process that was forked later."""

    def ragged(self, name: str) -> Items:
        """An output of variable length."""

    def close(self) -> None: ...
