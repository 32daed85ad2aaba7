"""Lance: a dataset of one version, with the columns of Parquet."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from launcher.export.arrow import record_batch, schema
from launcher.export.writer import Contents
from launcher.results.portions import Portion


class LanceWriter:
    """Lance asks for the portions itself."""

    def __init__(self, folder: Path, contents: Contents) -> None:
        self._folder = folder
        self._contents = contents
        self._schema = schema(contents)
        self._failure: BaseException | None = None

    def write(self, portions: Iterable[Portion]) -> None:
        import lance

        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches(portions))
        contents, rows = self._contents, self._contents.rows_per_file
        limits: dict[str, Any] = {"max_bytes_per_file": contents.file_bytes} | (
            {"max_rows_per_file": rows} if rows else {}
        )
        try:
            lance.write_dataset(reader, str(self._folder), **limits)
        except (OSError, ValueError, RuntimeError, pa.ArrowException):
            if self._failure is None:
                raise
        if self._failure is not None:
            raise self._failure

    def _batches(self, portions: Iterable[Portion]) -> Iterator[pa.RecordBatch]:
        try:
            for portion in portions:
                yield record_batch(portion, self._schema)
        except BaseException as error:  # across Lance none comes back as what it was
            self._failure = error
            raise
