"""Sources: the files that a manifest is made of, read as record batches in constant memory.

A source is read twice: ``scan`` finds its column types and rows, ``batches`` reads it with the types of the
whole manifest. A type can then never change at row 900,000, and the written schema has the number of rows.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from jobs.errors import InputError
from jobs.references.arrow_rows import ipc_batches, open_ipc
from jobs.references.stores import describe, is_url
from jobs.storage.samples import BATCH_ROWS
from launcher.manifest.casts import cast_batch, exactly
from launcher.manifest.patterns import matching_files
from launcher.manifest.schema import Scan, plain_schema

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


class Source(ABC):
    """One entry of data.manifest; ``name`` is how messages call it.

    ``has_ids``: its column ``id`` is ids by itself. ``unreadable``: what it raises that cannot be read.
    """

    has_ids: ClassVar[bool] = False
    # The last of names of columns.
    unreadable: ClassVar[tuple[type[Exception], ...]] = (pa.ArrowException, OSError, UnicodeDecodeError)

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def scan(self) -> Scan:
        """Column types and rows. Raises InputError where the source cannot be read."""

    @abstractmethod
    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """All rows in order, cast to the schema, in batches of any size. Raises InputError as scan does."""

    @property
    def location(self) -> str:
        """What the plan records: the absolute path of a file, or the pattern."""
        return self.name

    def place(self, row: int) -> str:
        """Where a row (from 0) is, for messages: ``x.parquet: row 42``, rows counted from 1."""
        return f"{self.name}: row {row + 1}"

    def state(self) -> tuple[int, float] | None:
        """Size in bytes and time of last change, None for sources that are no single file."""
        return None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What goes wrong inside, with the source's name, as InputError."""
        try:
            yield
        except self.unreadable as error:
            raise InputError(f"{self.name}: cannot be read: {error}") from None

    def cast(self, batch: pa.RecordBatch, schema: pa.Schema, first_row: int) -> pa.RecordBatch:
        """As ``cast_batch``; InputError with the row, of which the batch's first is ``first_row``, where a value changes."""
        try:
            return cast_batch(batch, schema)
        except pa.ArrowInvalid as error:
            for field in schema:
                self._check_cast(batch.column(field.name), field, first_row)
            raise InputError(f"{self.name}: cannot be read: {error}") from None

    def _check_cast(self, column: pa.Array, field: pa.Field, first_row: int) -> None:
        for row in range(len(column)):
            try:
                exactly(column.slice(row, 1), field.type)
            except pa.ArrowInvalid:
                raise InputError(
                    f"{self.place(first_row + row)}: column {field.name!r}: {column[row].as_py()!r} cannot be the "
                    f"{field.type} of this column in other files; write it with one type in all"
                ) from None


def state_of(place: str | Path) -> tuple[int, float]:
    """Bytes, and time of last change, of a file or an object of a store. Raises OSError."""
    if isinstance(place, str) and is_url(place):
        found = describe(place)
        return found.size, found.changed
    status = os.stat(place)
    return status.st_size, status.st_mtime


def together(states: Iterable[tuple[int, float]]) -> tuple[int, float]:
    """The bytes of all, and the last change of any."""
    known = [*states]
    return sum(size for size, _ in known), max((changed for _, changed in known), default=0.0)


def sample_file_schema(*, sizes: bool) -> pa.Schema:
    """Of files that are a sample each."""
    columns = [("id", pa.string()), ("path", pa.string()), ("size", pa.int64())]
    return pa.schema(columns[: 3 if sizes else 2])


class LocalSource(Source):
    """At one path: a file, or a folder of files that are one table."""

    def __init__(self, path: Path) -> None:
        super().__init__(display(path))
        self.path = path

    @property
    def location(self) -> str:
        return str(self.path)


class FileSource(LocalSource):
    """A table in one file."""

    def state(self) -> tuple[int, float] | None:
        with self.reading():
            return state_of(self.path)


class ParquetSource(FileSource):
    """A .parquet file, read by pages; pre-buffering would hold whole row groups.

    Its row groups are read one by one: Arrow cannot join dictionaries of two within lists and structs.
    """

    def scan(self) -> Scan:
        with self._open() as file:
            return Scan(self.name, plain_schema(file.schema_arrow, self.name), file.metadata.num_rows)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        row = 0
        with self._open() as file:
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
                    yield self.cast(batch, schema, row)
                    row += batch.num_rows

    @contextmanager
    def _open(self) -> Iterator["ParquetFile"]:
        from pyarrow.parquet import ParquetFile  # 10 ms, for its remote file systems: not for a CSV file

        with self.reading(), ParquetFile(self.path, pre_buffer=False) as file:
            yield file


class ArrowSource(FileSource):
    """An .arrow file in the IPC file or stream format."""

    def scan(self) -> Scan:
        with self.reading(), pa.memory_map(str(self.path)) as file:
            reader = open_ipc(file)
            rows = sum(batch.num_rows for batch in ipc_batches(reader))
            return Scan(self.name, plain_schema(reader.schema, self.name), rows)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        row = 0
        with self.reading(), pa.OSFile(str(self.path)) as file:
            for batch in ipc_batches(open_ipc(file)):
                yield self.cast(batch, schema, row)
                row += batch.num_rows


class GlobSource(Source):
    """The files that match a pattern, one sample each, sorted: columns ``id``, ``path`` and maybe ``size``.

    ``id`` is the path as the pattern gives it, from the config's folder on; ``path`` is absolute; ``size`` is
    in bytes. Folders are left out; a link to nothing is a sample, so that it is not lost without a word. ``**`` does not
    follow a link to a folder that it lies in.
    """

    has_ids = True

    def __init__(self, pattern: str, folder: Path, sizes: bool) -> None:
        super().__init__(pattern)
        self.folder = folder
        self.sizes = sizes
        self._matches: list[str] = []

    def scan(self) -> Scan:
        self._matches = sorted(set(matching_files(self.name, self.folder)))
        if not self._matches:
            raise InputError(f"{self.name}: no file matches this pattern in {self.folder}")
        return Scan(self.name, sample_file_schema(sizes=self.sizes), len(self._matches))

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self._matches), BATCH_ROWS):
            ids = self._matches[start : start + BATCH_ROWS]
            paths = [os.path.normpath(self.folder / match) for match in ids]
            try:
                columns = {"id": pa.array(ids, pa.string()), "path": pa.array(paths, pa.string())}
                if self.sizes:
                    columns["size"] = pa.array([os.stat(path).st_size for path in paths], pa.int64())
            except UnicodeEncodeError as error:
                raise InputError(f"{self.name}: file name {error.object!r} is not UTF-8; rename the file") from None
            except OSError as error:
                raise InputError(f"{self.name}: {error.filename}: no size: {error.strerror}") from None
            yield cast_batch(pa.RecordBatch.from_pydict(columns), schema)

    def place(self, row: int) -> str:
        return f"{self.name}: {self._matches[row]}"


def display(path: Path) -> str:
    """A path for messages: relative where it is below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
