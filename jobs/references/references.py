"""References: columns whose cells say where a value lies in a file, which is read when a Job asks for it.

The manifest says in its metadata which columns these are, of what kind, and in which other columns the rest of the place
stands (the file's path). So a plan has no copy of what is large, and a sample has the value under the column's name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import pyarrow as pa

READERS = {
    "tar": "jobs.references.tar_members:read_member",
    "hdf5": "jobs.references.array_rows:read_hdf5",
    "zarr": "jobs.references.array_rows:read_zarr",
    "arrow": "jobs.references.arrow_rows:read_arrow",
}
"""Kind -> the function that reads a value: (name of the column, its cell, the cells of the other columns) -> value.

It runs in pool workers and processes, which were forked, and keeps its files open from one call to the next: those that it
had before a fork it must not use. Raises OSError or ValueError, which fail the sample.
"""


@dataclass(frozen=True)
class Reference:
    """What a column of references is: the kind of its reader, and the columns that it needs beside its own."""

    kind: str
    beside: tuple[str, ...]


def encode(references: Mapping[str, Reference]) -> dict[str, Any]:
    """As the metadata of a manifest has them."""
    return {name: [one.kind, *one.beside] for name, one in references.items()}


def decode(metadata: Mapping[str, Any]) -> dict[str, Reference]:
    """Those that a manifest's metadata tells of."""
    found = metadata.get("references", {})
    return {name: Reference(kind, tuple(beside)) for name, (kind, *beside) in found.items()}


@cache
def _reader(kind: str) -> Callable[..., Any]:
    module, _, name = READERS[kind].partition(":")
    reader: Callable[..., Any] = getattr(import_module(module), name)
    return reader


class Referred(Sequence[Any]):
    """The values of a column of references; each is read whenever it is asked for, and None where the cell is null."""

    def __init__(self, name: str, reference: Reference, column: pa.Array, beside: Sequence[Sequence[Any]]) -> None:
        self._name = name
        self._read = _reader(reference.kind)
        self._column = column
        self._beside = beside

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, position: Any) -> Any:
        cell = self._column[position].as_py()
        if cell is None:
            return None
        return self._read(self._name, cell, *(column[position] for column in self._beside))
