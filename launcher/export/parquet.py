"""Parquet: files of some rows each, part-00000.parquet and so on, which together are one table."""

from pathlib import Path

import pyarrow.parquet as pq

from launcher.export.arrow import record_batch, schema
from launcher.export.writer import Contents, StepWriter
from launcher.results.portions import Portion


class ParquetWriter(StepWriter):
    """A portion is a row group. A file ends where a portion does."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._folder = folder
        self._contents = contents
        self._schema = schema(contents)
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        path, compression = self._folder / f"part-{self._number:05d}.parquet", self._contents.compression or "snappy"
        self._file = pq.ParquetWriter(path, self._schema, compression=compression)
        self._rows = self._bytes = 0
        self._number += 1

    def add(self, portion: Portion) -> None:
        if self._rows and self._contents.is_full(self._rows, self._bytes + portion.size):
            self._file.close()
            self._begin()
        self._file.write_batch(record_batch(portion, self._schema), row_group_size=len(portion.status))
        self._rows += len(portion.status)
        self._bytes += portion.size

    def close(self) -> None:
        self._file.close()
