"""Writer: what each format of an export is to Export: a folder that pieces of a result go into, one after another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.storage.records import Output
from launcher.results.pieces import Piece


@dataclass(frozen=True)
class Contents:
    """What an export holds: ``facts`` are where it comes from; ids are text, or the numbers of the rows.

    A file has ``rows_per_file`` rows, or as many as make ``file_bytes``.
    """

    rows: int
    outputs: tuple[Output, ...]
    ids_are_text: bool
    facts: Mapping[str, Any]
    rows_per_file: int | None
    file_bytes: int


class Writer(Protocol):
    """Gets all rows in order."""

    def add(self, piece: Piece) -> None:
        """Writes it; nothing of it is needed afterwards."""

    def close(self) -> None:
        """Ends the last file. Called once, after the last piece, or when something went wrong."""


MakeWriter = Callable[[Path, Contents], Writer]
"""Of a folder that is there and empty. Raises InputError for what the format cannot hold."""
