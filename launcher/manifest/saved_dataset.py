"""SavedDataset: the rows of a folder that Hugging Face datasets have written (`save_to_disk`): Arrow files and a state.json.

Numbers, and the columns that the config names, become columns of the manifest. Of texts, images and lists, the manifest has the
row's number, and tasks read them where they lie.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.errors import InputError
from jobs.references.arrow_rows import open_arrow
from jobs.references.references import Reference
from launcher.manifest.schema import Scan, plain_schema
from launcher.manifest.sources import LocalSource, state_of, together

STATE, SPLITS = "state.json", "dataset_dict.json"
_PLACE = "arrow"


class SavedDataset(LocalSource):
    """A folder with a state.json; ``wanted``: columns whose values are needed when the run is planned."""

    unreadable = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)

    def __init__(self, path: Path, wanted: Collection[str | None]) -> None:
        super().__init__(path)
        self._wanted = wanted

    def state(self) -> tuple[int, float]:
        """The bytes of all files, and the last change of any."""
        with self.reading():
            return together(map(state_of, (self.path / STATE, *self._files())))

    def _files(self) -> list[Path]:
        with self.reading():
            state: dict[str, Any] = json.loads((self.path / STATE).read_text())
            indices = (state.get(key) for key in ("_indices_data_files", "_indices_files"))
            if any(indices) or any(file.keys() - {"filename"} for file in state["_data_files"]):
                raise InputError(
                    f"{self.name}: an old version of datasets has saved which of its rows count, and in which order: load it "
                    "with datasets.load_from_disk, and save it again"
                )
            return [self.path / file["filename"] for file in state["_data_files"]]

    def scan(self) -> Scan:
        schema, rows = pa.schema([]), 0
        for path in self._files():
            with self.reading():
                schema, batches = open_arrow(str(path))
            rows += sum(batch.num_rows for batch in batches)
        cells = [field if self._is_copied(field) else pa.field(field.name, pa.int64()) for field in schema]
        references = {field.name: Reference(_PLACE, (_PLACE,)) for field in schema if not self._is_copied(field)}
        if references and _PLACE in schema.names:
            raise InputError(f"{self.name}: a column cannot be called {_PLACE}; rename it (rename_column)")
        place = [pa.field(_PLACE, pa.string())] if references else []
        return Scan(self.name, plain_schema(pa.schema([*cells, *place]), self.name), rows, references=references)

    def _is_copied(self, field: pa.Field) -> bool:
        return field.name in self._wanted or pa.types.is_primitive(field.type) or pa.types.is_null(field.type)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        before = 0
        for path in self._files():
            with self.reading():
                own, batches = open_arrow(str(path))
            row = 0
            for batch in batches:
                places = pa.array(range(row, row + batch.num_rows), pa.int64())
                columns = {f.name: batch.column(f.name) if self._is_copied(f) else places for f in own}
                if _PLACE in schema.names:
                    columns[_PLACE] = pa.repeat(str(path), batch.num_rows)
                yield self.cast(pa.RecordBatch.from_pydict(columns), schema, before + row)
                row += batch.num_rows
            before += row
