"""TarSource: the samples in tars, as webdataset writes them: the files of a sample have one name, and lie one after another.

Headers alone are read. A sample's row says where the bytes of its files lie, and a Job gets them under their extensions.
"""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jobs.errors import InputError
from jobs.references.byte_files import open_bytes
from jobs.references.references import Reference
from jobs.references.stores import is_url
from jobs.references.tar_members import MEMBER_TYPE, column_of, digest
from launcher.manifest.braces import braced
from launcher.manifest.casts import cast_batch
from launcher.manifest.patterns import matching_files
from launcher.manifest.remote_source import matching_objects
from launcher.manifest.schema import Scan
from launcher.manifest.sources import Source, display, state_of, together
from launcher.manifest.tar_walk import FOLDER, PLAIN, SPARSE, Member, TarError, TarWalk

# webdataset's rule: up to the first dot of the last part of the name; the rest is the extension.
_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]+)", re.DOTALL)
_ROWS = 8192
_MOST_EXTENSIONS = 100
_NOTHING = Member("", b"", 0, 0, 0, 0)
_WHY_NOT = {
    b"1": "is a link to another file of it, and has no bytes of its own; write the tar with --hard-dereference",
    b"2": "is a link; write the tar with --dereference",
    SPARSE: "is stored with its holes left out, so that its bytes do not lie together; write the tar without --sparse",
}


class _Row(NamedTuple):
    """A sample: its key, and its files by their columns."""

    key: str
    files: dict[str, Member]

    @property
    def size(self) -> int:
        return sum(member.size for member in self.files.values())


class TarSource(Source):
    """Tars in order, a row for each key; ``size``: there is a column of that name, of the bytes of a sample's files.

    ``files`` are the tars as ids name them, and where they are: absolute paths, or URLs.
    """

    has_ids = True

    def __init__(self, name: str, files: Sequence[tuple[str, str]], size: bool) -> None:
        super().__init__(_shown(files[0][1]) if len(files) == 1 else name)
        self._files = files
        self._size = size
        self._starts = [0]

    @property
    def location(self) -> str:
        return self._files[0][1] if len(self._files) == 1 else self.name

    def scan(self) -> Scan:
        extensions: set[str] = set()
        rows = []
        for name, place in self._files:
            with self._reading(place):
                rows.append(self._scan_one(name, place, extensions))
        self._starts = [0, *accumulate(rows)]
        own = [(column, pa.string()) for column in ("id", "key", "tar")]
        sizes = [("size", pa.int64())] if self._size else []
        columns = sorted(extensions)
        schema = pa.schema([*own, *sizes, *((column, MEMBER_TYPE) for column in columns)])
        references = {column: Reference("tar", ("tar", "key")) for column in columns}
        return Scan(self.name, schema, self._starts[-1], references=references)

    def _scan_one(self, name: str, place: str, extensions: set[str]) -> int:
        """The number of rows; each key once: whoever reads a tar from its beginning takes one that comes again for another."""
        hashes = [np.empty(0, np.uint64)]
        rows = self._rows(place)
        while block := list(islice(rows, _ROWS)):
            hashes.append(np.array([digest(row.key.encode()) for row in block], np.uint64))
            extensions.update(*(row.files for row in block))
            if len(extensions) > _MOST_EXTENSIONS:
                shown = ", ".join(sorted(extensions)[:3])
                raise TarError(
                    f"has files of over {_MOST_EXTENSIONS} kinds ({shown} ...): a file's kind is what follows the first dot of "
                    "its name, so names of samples may not have dots"
                )
        values, counts = np.unique(np.concatenate(hashes), return_counts=True)
        if len(repeated := values[counts > 1]):
            key = next(row.key for row in self._rows(place) if digest(row.key.encode()) == repeated[0])
            raise TarError(
                f"the files of {key!r} do not lie one after another; write it by the order of names: tar --sort=name -cf"
            )
        return int(counts.sum())

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for name, place in self._files:
            with self._reading(place):
                rows = self._rows(place)
                while block := list(islice(rows, _ROWS)):
                    yield self._batch(name, place, block, schema)

    def _batch(self, name: str, place: str, rows: Sequence[_Row], schema: pa.Schema) -> pa.RecordBatch:
        keys = [row.key for row in rows]
        columns = {
            "id": pa.array([f"{name}/{key}" for key in keys]),
            "key": pa.array(keys),
            "tar": pa.repeat(place, len(rows)),
        }
        if self._size:
            columns["size"] = pa.array([row.size for row in rows], pa.int64())
        for column in schema.names:
            if column not in columns:
                columns[column] = _cells([row.files.get(column) for row in rows])
        return cast_batch(pa.RecordBatch.from_pydict(columns), schema)

    def _rows(self, place: str) -> Iterator[_Row]:
        """The samples of a tar. Files without an extension and hidden ones are of none, as webdataset has it."""
        row: _Row | None = None
        for member in TarWalk(open_bytes(place)):
            found = _NAME.fullmatch(member.name)
            if found is None or member.kind == FOLDER:
                continue
            if member.kind not in PLAIN:
                raise TarError(f"{member.name} {_WHY_NOT.get(member.kind, 'is no file')}")
            key, column = found[1], column_of(found[2].lower())
            if row is None or row.key != key:
                if row:
                    yield row
                row = _Row(key, {})
            if column in row.files:
                first = row.files[column].offset
                raise TarError(f"has {member.name} twice, at bytes {first:,} and {member.offset:,}; write it anew")
            row.files[column] = member
        if row:
            yield row

    @contextmanager
    def _reading(self, place: str) -> Iterator[None]:
        shown = _shown(place)
        where = shown if shown == self.name else f"{self.name}: {shown}"
        try:
            yield
        except TarError as error:
            raise InputError(f"{where}: {error}") from None
        except OSError as error:
            raise InputError(f"{where}: cannot be read: {error}") from None

    def place(self, row: int) -> str:
        number = max(number for number, start in enumerate(self._starts[:-1]) if start <= row)
        name, place = self._files[number]
        key = next(islice(self._rows(place), row - self._starts[number], None)).key
        return f"{self.name}: {key} in {name}"

    def state(self) -> tuple[int, float]:
        """The bytes of all tars, and the last change of any."""
        found = []
        for _, place in self._files:
            with self._reading(place):
                found.append(state_of(place))
        return together(found)


def _shown(place: str) -> str:
    return place if is_url(place) else display(Path(place))


def _cells(members: Sequence[Member | None]) -> pa.StructArray:
    """Where they lie; null for those that a sample lacks."""
    found = [member or _NOTHING for member in members]
    columns = [pa.array([getattr(one, field.name) for one in found], field.type) for field in MEMBER_TYPE]
    lacking = pa.array([member is None for member in members])
    return pa.StructArray.from_arrays(columns, fields=list(MEMBER_TYPE), mask=lacking)


def find_tars(entry: str, folder: Path) -> list[str]:
    """The tars of an entry, as it names them: one, those of a pattern, names with braces.

    Raises InputError for a pattern without any.
    """
    found: list[str] = []
    for name in [entry] if os.path.exists(folder / entry) else braced(entry):
        if glob.has_magic(name) and (is_url(name) or not os.path.exists(folder / name)):
            own = [one.url for one in matching_objects(name)] if is_url(name) else matching_files(name, folder)
            matches = sorted(set(own))
            if not matches:
                raise InputError(f"{entry}: no file matches {name}{'' if is_url(name) else f' in {folder}'}")
            found += matches
        else:
            found.append(name)
    return found
