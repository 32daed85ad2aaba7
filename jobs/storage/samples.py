"""Samples: the rows of manifest.arrow as mappings, read through a memory map.

Written by the planner, read by pool workers (and processes without workers), which hand each row to ``Job.load``.
"""

import errno
import itertools
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import xxhash

from jobs.storage.files import intact
from jobs.storage.sample_columns import MoreColumns, SampleColumns

if TYPE_CHECKING:
    from jobs.references.references import Reference

# Every record batch of the manifest but the last has this many rows, so that row i lies in batch i // BATCH_ROWS.
BATCH_ROWS = 65_536
METADATA_KEY = b"launcher"
# Rows that are read at least, for the pieces that follow: to find 8 of them and make Python objects of a column takes as
# long as for these, a tenth of a millisecond where a process has just slept. Unless they are more than so many bytes.
_AHEAD = 256
_AHEAD_BYTES = 1 << 20
_NONE: Mapping[int, BaseException] = {}
# Whoever reads rows of a record batch hashes all of it first. Of larger ones only gather and verify do: array tasks need a
# part of such a batch each, and would read many times what they need.
_HASHED_BYTES = 16 << 20
REMEDY = "bring back a copy of it, or have `launcher plan` with the same config write it anew"


class _Window:
    """The neighbouring rows of ``batch``, the first of which is row ``first`` of the file, the last that before ``stop``.

    ``indices`` are their rows in the manifest. Those before ``given`` were handed out.
    """

    __slots__ = ("columns", "first", "given", "id_column", "indices", "names", "parts", "stop")

    def __init__(self, batch: pa.RecordBatch, first: int, samples: "Samples") -> None:
        self.columns = SampleColumns(batch, samples.references)
        self.names = batch.schema.names
        if samples.more:
            self.columns |= samples.more.values(batch)
            self.names += samples.more.names
        self.first = self.given = first
        self.stop = first + batch.num_rows
        self.id_column = samples.id_column
        self.parts = samples.parts
        self.indices = samples.origins[first : self.stop] if samples.origins else range(first, self.stop)


class Sample(Mapping[str, Any]):
    """One manifest row: column name -> value.

    ``id`` is the row's id (str). ``manifest`` is the name of the manifest that it comes from, where a run has several,
    else None; ``row`` is its row there, and in the result, from 0. ``index`` is its row among those of all manifests, so
    the same as ``row`` where there is one.
    """

    # One is made for each row, so it keeps no more than it must.
    __slots__ = ("_position", "_window")

    def __init__(self, window: _Window, position: int) -> None:
        self._window = window
        self._position = position

    @property
    def index(self) -> int:
        return self._window.indices[self._position]

    @property
    def id(self) -> str:
        name = self._window.id_column
        return str(self.row) if name is None else str(self._window.columns[name][self._position])

    @property
    def manifest(self) -> str | None:
        part = self._part()
        return None if part is None else part[0]

    @property
    def row(self) -> int:
        part = self._part()
        return self.index if part is None else self.index - part[1]

    def _part(self) -> tuple[str, int] | None:
        """The last part that begins at the row or before it; those without rows begin where the next one does."""
        parts = self._window.parts
        return parts[bisect_right(parts, self.index, key=lambda part: part[1]) - 1] if parts else None

    def __getitem__(self, name: str) -> Any:
        try:
            return self._window.columns[name][self._position]
        except KeyError:
            if name in self._window.names:
                raise
            raise KeyError(f"{name!r} is no column of this sample, which has {', '.join(self._window.names)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._window.names)

    def __len__(self) -> int:
        return len(self._window.names)

    def __contains__(self, name: object) -> bool:
        return name in self._window.names  # Mapping's would have the value, which may have to be read from elsewhere

    def __repr__(self) -> str:
        return f"Sample(index={self.index}, {dict(self)})"


def _open(path: Path) -> tuple[pa.ipc.RecordBatchFileReader, dict[str, Any]]:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except pa.ArrowException as error:  # of damage it may think that it is something that it cannot do
        raise ValueError(f"{error}") from error
    return reader, json.loads(reader.schema.metadata[METADATA_KEY])


def _references(metadata: Mapping[str, Any]) -> Mapping[str, "Reference"]:
    """The columns whose values lie elsewhere; most manifests have none, and no need of what reads them."""
    if "references" not in metadata:
        return {}
    from jobs.references.references import decode

    return decode(metadata)


class Samples:
    """The manifest, open; holds no rows in memory."""

    def __init__(self, path: Path, digests: Sequence[str] = (), more: MoreColumns | None = None) -> None:
        """``digests`` are those of the record batches as they were planned; ``more``: columns that each sample has besides.

        Raises RunError where it is damaged.
        """
        self.more = more
        self._path = path
        self._reader, metadata = intact(path, _open, REMEDY)
        self._digests = digests
        self._checked: set[int] = set()
        self.id_column: str | None = metadata["id"]
        self.references = _references(metadata)
        self.parts: Sequence[tuple[str, int]] = [(name, first) for name, first in metadata.get("parts", ())]
        # Where the file holds some rows of a manifest, for a probe: their numbers there.
        self.origins: Sequence[int] | None = metadata.get("origins")
        self._kept: tuple[int, pa.RecordBatch] = (-1, None)
        self._window: _Window | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Their types by their names, as Arrow calls them; of references where they are."""
        of = self.references
        return {f.name: f"in {of[f.name].kind}" if f.name in of else str(f.type) for f in self._reader.schema}

    def __len__(self) -> int:
        last = self._reader.num_record_batches - 1
        return int(last * BATCH_ROWS + self._get(last).num_rows) if last >= 0 else 0

    def check(self) -> None:
        """Reads all of it; raises OSError where it is not what was planned, as far as ``digests`` tell."""
        count = self._reader.num_record_batches
        if self._digests and count != len(self._digests):
            raise self._is_another()
        for number in range(count):
            self._check(number, self._get(number))

    def rows(self, start: int, stop: int) -> Iterator[Sample]:
        """Samples of the manifest rows ``[start, stop)``. Raises OSError where they are not those that were planned.

        Each is made when it is asked for: those that are gone by then need no memory, and no garbage collection.
        """
        return itertools.chain.from_iterable(self._by_window(start, stop))

    def unreadable(self, start: int, stop: int) -> Mapping[int, BaseException]:
        """Those that lack a value of another run. What a cell is, is found out by the Job that asks for it."""
        if self.more is None:
            return _NONE
        found: dict[int, BaseException] = {}
        for first, batch in self._pieces(start, stop):
            found |= {first + row: problem for row, problem in self.more.unreadable(batch).items()}
        return found

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows, as far as each record batch has them, with the first of them."""
        while start < stop:
            number, within = divmod(start, BATCH_ROWS)
            batch = self._batch(number).slice(within, stop - start)
            yield start, batch
            start += batch.num_rows

    def find(self, name: str) -> list[int]:
        """The rows of an id: one, or none, unless there are several manifests."""
        if self.id_column is None:
            ends = [*(first for _, first in self.parts[1:]), len(self)]
            rows = [first + int(name) for _, first in self.parts or [("", 0)]] if name.isdecimal() else []
            return [row for row, end in zip(rows, ends, strict=False) if row < end]
        found = []
        for number in range(self._reader.num_record_batches):
            column = self._get(number).column(self.id_column)
            column = column.cast(pa.string()) if pa.types.is_integer(column.type) else column
            ids = column.to_pylist() if not pa.types.is_string(column.type) else None
            rows = _equal(column, name) if ids is None else [row for row, one in enumerate(ids) if str(one) == name]
            found += [number * BATCH_ROWS + row for row in rows]
        return found

    def name(self, row: int) -> str:
        """What a message calls the sample of a manifest row: its row, and its id where that is another."""
        sample = next(self.rows(row, row + 1))
        words = [sample.id] if sample.id != str(row) else []
        words += [f"of {sample.manifest}"] if sample.manifest else []
        return f"{row} ({' '.join(words)})" if words else str(row)

    def _by_window(self, start: int, stop: int) -> Iterator[Iterator[Sample]]:
        """The samples, window by window.

        A sample is the Job's, which may change its lists: rows that are asked for again, as those of a piece that failed,
        are read again.
        """
        while start < stop:
            window = self._window
            if window is None or not window.given <= start < window.stop:
                window = self._window = self._read(start, stop)
            end = window.given = min(stop, window.stop)
            yield map(Sample, itertools.repeat(window), range(start - window.first, end - window.first))
            start = end

    def _read(self, start: int, stop: int) -> _Window:
        """The rows as far as they are in the record batch of the first, and perhaps some of those that follow."""
        number, within = divmod(start, BATCH_ROWS)
        rows = stop - start
        ahead = 0 if self.more else _AHEAD  # what another run has stored may be large
        batch = self._batch(number).slice(within, max(rows, ahead))
        if rows < ahead and batch.nbytes > _AHEAD_BYTES:
            batch = batch.slice(0, rows)
        return _Window(batch, start, self)

    def _batch(self, number: int) -> pa.RecordBatch:
        """A record batch of the file, a view of the map; kept, since the next rows are of the same, as a rule."""
        if number != self._kept[0]:
            batch = self._get(number)
            if batch.nbytes <= _HASHED_BYTES:
                self._check(number, batch)
            self._kept = number, batch
        return self._kept[1]

    def _get(self, number: int) -> pa.RecordBatch:
        try:
            return self._reader.get_batch(number)
        except ValueError as error:  # pyarrow's of files that are none
            raise self._is_another() from error

    def _check(self, number: int, batch: pa.RecordBatch) -> None:
        if self._digests and number not in self._checked:
            if self._digests[number : number + 1] != (batch_digest(batch),):
                raise self._is_another()
            self._checked.add(number)

    def _is_another(self) -> OSError:
        return OSError(errno.EIO, f"does not have the samples that were planned; {REMEDY}", str(self._path))


def _equal(texts: pa.Array, text: str) -> list[int]:
    """Where in an array a text stands."""
    from pyarrow import compute  # which takes a while to import

    found: list[int] = compute.indices_nonzero(compute.equal(texts, text)).to_pylist()
    return found


def batch_digest(batch: pa.RecordBatch) -> str:
    """xxh3-64 of a record batch of the file: its bytes, the names of its columns, and what the file says of itself."""
    found = xxhash.xxh3_64(repr((batch.schema.metadata or {}).get(METADATA_KEY)).encode())
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        found.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
        for buffer in column.buffers():
            if buffer is not None:
                found.update(buffer)
    return found.hexdigest()


def read_digests(path: Path) -> tuple[str, ...]:
    """The digests of a file that was just written; read, not mapped: of a large one all would count as our memory."""
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        return tuple(batch_digest(reader.get_batch(number)) for number in range(reader.num_record_batches))
