"""RunSource: the samples of another run, from its manifest: rows of it, some of its columns, and which row each was there."""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.errors import InputError
from jobs.nearest import did_you_mean, nearest
from jobs.references.references import decode
from jobs.storage.records import Part
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY
from jobs.storage.spans import Spans
from jobs.storage.upstreams import ROW
from launcher.manifest.schema import Scan
from launcher.manifest.sources import Source, display


class RunSource(Source):
    """Of a part of a written manifest, without the rows ``left_out``, which count through all parts.

    ``columns``: those that are wanted (None: all), beside ``id_column``, that of the run; where it has none, the numbers of its
    rows are its ids, and become a column. ``outputs`` are names that columns cannot have. Raises InputError.
    """

    def __init__(
        self,
        manifest: Path,
        part: Part,
        left_out: Spans,
        id_column: str | None,
        columns: Sequence[str] | None,
        outputs: Sequence[str],
    ) -> None:
        super().__init__(display(manifest.parent))
        self._manifest = manifest
        self._first = part.start
        self._kept = Spans([(part.start, part.stop)]) - left_out
        with self._reading() as reader:
            references = decode(json.loads(reader.schema.metadata[METADATA_KEY]))
            self._names = self._chosen(reader.schema.names, columns, id_column, outputs)
        # A value that lies in a file is found with the help of other columns.
        beside = (column for name in self._names if name in references for column in references[name].beside)
        self._names = list(dict.fromkeys((*self._names, *beside)))
        self._references = {name: references[name] for name in self._names if name in references}
        taken = {*self._names, *outputs}
        free = (name for name in chain(["id"], map("upstream_id_{}".format, count(1))) if name not in taken)
        self._made_id = None if id_column else next(free)
        self.id_column = id_column or self._made_id

    @property
    def location(self) -> str:
        return os.path.abspath(self._manifest.parent)

    def scan(self) -> Scan:
        with self._reading() as reader:
            fields = [reader.schema.field(name) for name in self._names]
        made = [pa.field(self._made_id, pa.string())] if self._made_id else []
        schema = pa.schema([*fields, *made, pa.field(ROW, pa.int64())])
        return Scan(self.name, schema, self._kept.count, references=self._references)

    def _reading(self) -> pa.RecordBatchFileReader:
        try:
            return pa.ipc.open_file(pa.memory_map(str(self._manifest)))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.name}: its samples cannot be read: {error}") from None

    def _chosen(
        self, there: Sequence[str], columns: Sequence[str] | None, id_column: str | None, outputs: Sequence[str]
    ) -> list[str]:
        """The columns that are taken over; what the other run says of a run before it is not."""
        own = [name for name in there if name != ROW]
        wanted = own if columns is None else list(columns)
        if id_column and id_column not in wanted:
            wanted = [id_column, *wanted]
        valid = ", ".join(name for name in own if name not in outputs)
        for name in wanted:
            if name not in own:
                guess = did_you_mean(nearest(name, own))
                raise InputError(
                    f"{self.name}: there is no column {name!r} (data.manifest.columns){guess}; valid: {valid}"
                )
            if name in outputs:
                raise InputError(
                    f"{self.name}: {name!r} is a column, and an output that is wanted: a sample has one value of a name. "
                    f"Choose columns with data.manifest.columns: {valid}"
                )
        return wanted

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._reading() as reader:
            for number in range(reader.num_record_batches):
                first = number * BATCH_ROWS
                rows = np.fromiter(self._kept.within(first, first + BATCH_ROWS).numbers, np.int64)
                if len(rows):
                    batch = reader.get_batch(number).take(pa.array(rows - first))
                    columns = {name: batch.column(name) for name in self._names}
                    columns[ROW] = pa.array(rows - self._first)
                    if self._made_id:
                        columns[self._made_id] = columns[ROW].cast(pa.string())
                    yield self.cast(pa.RecordBatch.from_pydict(columns), schema, 0)

    def place(self, row: int) -> str:
        number = next(islice(self._kept.numbers, row, None))
        return f"{self.name}: row {number - self._first}"
