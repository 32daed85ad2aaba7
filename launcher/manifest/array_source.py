"""ArraySource: the rows of the arrays of an HDF5 file, or of a Zarr store.

What is one number or text a row becomes a column of the manifest. Of what is larger, the manifest has the row's number, and
tasks read it where it lies.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs import extras
from jobs.errors import InputError
from jobs.nearest import did_you_mean, nearest
from jobs.references.array_group import INSIDE, ZARR_MARKS, is_text, open_group
from jobs.references.references import Reference
from jobs.storage.samples import BATCH_ROWS
from launcher.manifest.schema import Scan
from launcher.manifest.sources import Source, display, state_of, together

# Files that tell of a store what there is in it.
_ZARR_NOTES = (*ZARR_MARKS, ".zattrs", ".zmetadata")


class ArraySource(Source):
    """The arrays of the group ``inside``, or some of them: ``GROUP``, ``GROUP/NAME`` or ``GROUP/NAME,NAME``."""

    unreadable = (OSError, RuntimeError, ValueError, KeyError, pa.ArrowException)

    def __init__(self, kind: str, path: Path, inside: str) -> None:
        super().__init__(f"{display(path)}{INSIDE}{inside}" if inside else display(path))
        if kind == "zarr" and (missing := extras.missing("zarr")):
            raise InputError(f"{self.name}: needs {', '.join(missing)}: {extras.how_to_install('zarr')}")
        self._kind = kind
        self._path = path
        self._inside = inside.strip("/")

    @property
    def location(self) -> str:
        return self._at(self._inside)

    def _at(self, group: str) -> str:
        return f"{self._path}{INSIDE}{group}" if group else str(self._path)

    def state(self) -> tuple[int, float]:
        """Of the file, or of the files that tell what is in a store."""
        notes = [self._path / name for name in _ZARR_NOTES if self._kind == "zarr"]
        with self.reading():
            return together(map(state_of, [path for path in notes if path.exists()] or [self._path]))

    def scan(self) -> Scan:
        with self.reading():
            _, arrays = self._chosen()
            self._check_lengths(arrays)
            types = {name: _cell_type(self._kind, array) for name, array in arrays.items()}
        referred = [name for name, kind in types.items() if kind is None]
        if self._kind in arrays and referred:
            raise InputError(
                f"{self.name}: an array cannot be called {self._kind}; choose others: {self.name}{INSIDE}NAME"
            )
        fields = [(name, kind or pa.int64()) for name, kind in types.items()]
        place = [(self._kind, pa.string())] if referred else []
        references = {name: Reference(self._kind, (self._kind,)) for name in referred}
        rows = next(iter(arrays.values())).shape[0]
        return Scan(self.name, pa.schema([*fields, *place]), rows, references=references)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self.reading():
            group, arrays = self._chosen()
            rows = next(iter(arrays.values())).shape[0]
            for start in range(0, rows, BATCH_ROWS):
                stop = min(start + BATCH_ROWS, rows)
                columns = {name: self._cells(name, array, start, stop) for name, array in arrays.items()}
                if self._kind in schema.names:
                    columns[self._kind] = pa.repeat(self._at(group), stop - start)
                yield self.cast(pa.RecordBatch.from_pydict(columns), schema, start)

    def _cells(self, name: str, array: Any, start: int, stop: int) -> pa.Array:
        kind = _cell_type(self._kind, array)
        if kind is None:
            return pa.array(np.arange(start, stop))
        values = array[start:stop]
        if not pa.types.is_string(kind):
            return pa.array(values.astype(values.dtype.newbyteorder("="), copy=False), kind)
        texts = []
        for row, value in enumerate(values.tolist(), start):
            try:
                texts.append(value.decode() if isinstance(value, bytes) else value)
            except UnicodeDecodeError as error:
                raise InputError(f"{self.place(row)}: {name} is no UTF-8 text: {error}") from None
        return pa.array(texts, kind)

    def _chosen(self) -> tuple[str, Mapping[str, Any]]:
        """The group, and those of its arrays that are wanted: what is inside is a group, or a name, or names, in one."""
        try:
            return self._inside, self._some(open_group(self._kind, self._at(self._inside)), ())
        except OSError:
            if not self._inside:
                raise
        group, _, names = self._inside.rpartition("/")
        return group, self._some(open_group(self._kind, self._at(group)), names.split(","))

    def _some(self, arrays: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
        there = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "none"
        for name in names:
            if name not in arrays:
                guess = did_you_mean(nearest(name, arrays))
                raise InputError(f"{self.name}: there is no array {name!r}{guess}; those there: {there}")
        if not arrays:
            raise InputError(f"{self.name}: has no arrays; name the group that has: {self.name}{INSIDE}GROUP")
        return {name: arrays[name] for name in names} if names else arrays

    def _check_lengths(self, arrays: Mapping[str, Any]) -> None:
        if len({array.shape[0] for array in arrays.values()}) > 1:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
            raise InputError(
                f"{self.name}: its arrays have not as many rows ({shapes}); name those that are samples: "
                f"{display(self._path)}{INSIDE}{next(iter(arrays))}"
            )


def _cell_type(store: str, array: Any) -> pa.DataType | None:
    """Of an array with one number or text a row; None for any other."""
    if len(array.shape) > 1:
        return None
    if is_text(store, array):
        return pa.string()
    return pa.from_numpy_dtype(array.dtype.newbyteorder("=")) if array.dtype.kind in "iufb" else None
