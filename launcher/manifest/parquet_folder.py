"""Folders of Parquet files, as Spark, Dask and datasets write them: one table in many files."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from jobs.errors import InputError
from launcher.manifest.schema import Scan, common_schema
from launcher.manifest.sources import LocalSource, ParquetSource, display, state_of, together


def parquet_files(folder: Path) -> list[Path]:
    """The .parquet files right in a folder, sorted; those that begin with a dot or _ are notes of who wrote it.

    A link to nothing is one, so that it is not lost without a word.
    """
    try:
        return sorted(path for path in folder.iterdir() if _is_parquet(path) and not path.name.startswith((".", "_")))
    except OSError as error:
        raise InputError(f"{display(folder)}: this folder cannot be read: {error.strerror} (data.manifest)") from None


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet" and not path.is_dir()


class ParquetFolder(LocalSource):
    """A folder of .parquet files with the same columns, in the order of their names."""

    def scan(self) -> Scan:
        if deeper := next(filter(_is_parquet, self.path.glob("*/**/*")), None):
            raise InputError(
                f"{self.name}: has folders of Parquet files too ({display(deeper.parent)}); name each folder, as a list"
            )
        self._files = [ParquetSource(path) for path in parquet_files(self.path)]
        scans = [file.scan() for file in self._files]
        if not scans:
            raise InputError(f"{self.name}: has no .parquet file")
        self._starts = [0, *accumulate(scan.rows for scan in scans)]
        return Scan(self.name, common_schema([scans], None), self._starts[-1])

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            yield from file.batches(schema)

    def place(self, row: int) -> str:
        number = max(number for number, start in enumerate(self._starts[:-1]) if start <= row)
        return self._files[number].place(row - self._starts[number])

    def state(self) -> tuple[int, float]:
        """The bytes of all files, and the last change of any."""
        try:
            return together(map(state_of, parquet_files(self.path)))
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error}") from None
