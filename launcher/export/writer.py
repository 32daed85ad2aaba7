"""Writer: what each format of an export is to Export: a folder that portions of a result go into, one after another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.storage.records import Output
from launcher.results.portions import Portion


@dataclass(frozen=True)
class Contents:
    """What an export holds: ``facts`` are where it comes from; ids are text, or the numbers of the rows.

    A file has ``rows_per_file`` rows, or as many as make ``file_bytes``. ``compression`` is one of those that the format
    has; None: what its other programs take by default.
    """

    rows: int
    outputs: tuple[Output, ...]
    ids_are_text: bool
    facts: Mapping[str, Any]
    rows_per_file: int | None
    file_bytes: int
    compression: str | None = None

    def is_full(self, rows: int, size: int) -> bool:
        """Whether a file with so many rows ends before the next, with which it would have ``size`` bytes."""
        return rows >= self.rows_per_file if self.rows_per_file else size > self.file_bytes


class Writer(Protocol):
    """Gets all rows in order."""

    def write(self, portions: Iterable[Portion]) -> None:
        """Writes them; nothing of one is needed once the next is asked for."""


class StepWriter(ABC):
    """A Writer that does it portion by portion."""

    def write(self, portions: Iterable[Portion]) -> None:
        try:
            for portion in portions:
                self.add(portion)
        finally:
            self.close()

    @abstractmethod
    def add(self, portion: Portion) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Ends the last file, also where something went wrong."""


MakeWriter = Callable[[Path, Contents], Writer]
"""Of a folder that is there and empty. Raises InputError for what the format cannot hold."""
