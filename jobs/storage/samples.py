"""Samples: the rows of manifest.arrow as mappings, read through a memory map.

Written by the planner, read by pool workers (and processes without workers), which hand each row to ``Job.load``.
"""

import itertools
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

# Every record batch of the manifest but the last has this many rows, so that row i lies in batch i // BATCH_ROWS.
BATCH_ROWS = 65_536
METADATA_KEY = b"launcher"


class _Columns(dict[str, list[Any]]):
    """The columns of some rows; each becomes Python objects when a sample first asks for it."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __missing__(self, name: str) -> list[Any]:
        # RecordBatch.column raises KeyError with the name, which is what a mapping should do.
        values: list[Any] = self._batch.column(name).to_pylist()
        self[name] = values
        return values


class _Block:
    """Some neighbouring rows."""

    __slots__ = ("batch", "columns", "id_column", "parts")

    def __init__(self, batch: pa.RecordBatch, id_column: str | None, parts: Sequence[tuple[str, int]] = ()) -> None:
        self.batch = batch
        self.columns = _Columns(batch)
        self.id_column = id_column
        self.parts = parts


class Sample(Mapping[str, Any]):
    """One manifest row: column name -> value.

    ``id`` is the row's id (str). ``manifest`` is the name of the manifest that it comes from, where a run has several,
    else None; ``row`` is its row there, and in the result, from 0. ``index`` is its row among those of all manifests, so
    the same as ``row`` where there is one.
    """

    __slots__ = ("_block", "_position", "index")

    def __init__(self, block: _Block, position: int, index: int) -> None:
        self._block = block
        self._position = position
        self.index = index

    @property
    def id(self) -> str:
        name = self._block.id_column
        return str(self.row) if name is None else str(self._block.columns[name][self._position])

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
        parts = self._block.parts
        return parts[bisect_right(parts, self.index, key=lambda part: part[1]) - 1] if parts else None

    def __getitem__(self, name: str) -> Any:
        return self._block.columns[name][self._position]

    def __iter__(self) -> Iterator[str]:
        return iter(self._block.batch.schema.names)

    def __len__(self) -> int:
        return int(self._block.batch.num_columns)

    def __repr__(self) -> str:
        return f"Sample(index={self.index}, {dict(self)})"


class Samples:
    """The manifest, open; holds no rows in memory."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        metadata = json.loads(self._reader.schema.metadata[METADATA_KEY])
        self.id_column: str | None = metadata["id"]
        self._parts = [(name, first) for name, first in metadata.get("parts", ())]
        self._kept: tuple[int, pa.RecordBatch] = (-1, None)
        # Where the file holds some rows of a manifest, for a probe: their numbers there.
        self._origins: Sequence[int] | None = metadata.get("origins")

    def rows(self, start: int, stop: int) -> Iterator[Sample]:
        """Samples of the manifest rows ``[start, stop)``.

        Each is made when it is asked for: those that are gone by then need no memory, and no garbage collection.
        """
        return itertools.chain.from_iterable(itertools.starmap(self._samples, self.blocks(start, stop)))

    def _samples(self, block: _Block, first: int) -> Iterator[Sample]:
        numbers = range(first, first + block.batch.num_rows)
        indices = [self._origins[number] for number in numbers] if self._origins else numbers
        return map(Sample, itertools.repeat(block), itertools.count(), indices)

    def _batch(self, number: int) -> pa.RecordBatch:
        """A record batch of the file, a view of the map; kept, since the next rows are of the same, as a rule."""
        if number != self._kept[0]:
            self._kept = number, self._reader.get_batch(number)
        return self._kept[1]

    def blocks(self, start: int, stop: int) -> Iterator[tuple[_Block, int]]:
        """The record batches that hold the rows, sliced to them, each with its first manifest row."""
        while start < stop:
            number, within = divmod(start, BATCH_ROWS)
            batch = self._batch(number).slice(within, stop - start)
            yield _Block(batch, self.id_column, self._parts), start
            start += batch.num_rows
