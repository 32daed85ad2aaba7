"""Export: an opened result -> a folder in the format of another program, whole or not at all.

It streams: some megabytes of rows are in memory at a time. Beside what the format holds, each folder has _result.json (where
it comes from, its outputs) and _errors.jsonl (the failed samples): names that readers of folders pass over.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs import extras
from jobs.errors import InputError
from jobs.gather.result_file import FAILED
from jobs.storage.new_folder import NewFolder
from launcher.export.writer import Contents, MakeWriter
from launcher.results.pieces import pieces
from launcher.results.results import Results

FORMATS: Mapping[str, tuple[str, str | None]] = {
    "parquet": ("launcher.export.parquet:ParquetWriter", None),
    "numpy": ("launcher.export.numpy_files:NumpyWriter", None),
    "webdataset": ("launcher.export.webdataset:WebDatasetWriter", None),
    "zarr": ("launcher.export.zarr_store:ZarrWriter", "zarr"),
}
"""What writes each, and the extra that it needs."""
FILE_BYTES = 1 << 30
# What a folder is the result of; the last file of it in a store.
RESULT = "_result.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    rows: int
    files: int
    bytes: int


def export(
    results: Results,
    path: Path,
    format_: str,
    *,
    rows_per_file: int | None = None,
    file_bytes: int = FILE_BYTES,
    progress: Progress | None = None,
) -> Exported:
    """Makes the folder ``path``. Whether the result is complete is up to who opened it.

    Raises InputError where there is something already, or the format cannot hold an output or is not installed; DamageError
    where a block is not as it was committed.
    """
    make = _writer(format_)
    facts = _facts(results, format_)
    outputs = tuple(map(results.output, results.outputs))
    text = results.table.ids(0, min(1, len(results))).dtype == object
    failed: list[str | int] = []
    with NewFolder(path) as folder:
        with closing(
            make(folder.temporary, Contents(len(results), outputs, text, facts, rows_per_file, file_bytes))
        ) as to:
            for piece in pieces(results, rows_per_file):
                to.add(piece)
                failed += piece.ids[piece.status == FAILED].tolist()
                if progress:
                    progress(piece.stop, len(results))
        (folder.temporary / RESULT).write_text(json.dumps(facts, indent=1) + "\n")
        _write_errors(results, failed, folder.temporary / "_errors.jsonl")
        sizes = [file.stat().st_size for file in folder.temporary.rglob("*") if file.is_file()]
        folder.publish()
    return Exported(path, len(results), len(sizes) - 1, sum(sizes))


def _writer(format_: str) -> MakeWriter:
    """Raises InputError where there is none of this name, or what it needs is missing."""
    if format_ not in FORMATS:
        raise InputError(f"no format {format_!r}; valid: {', '.join(FORMATS)}")
    place, extra = FORMATS[format_]
    if extra and extras.missing(extra):
        raise InputError(
            f"the format {format_} needs {', '.join(extras.missing(extra))}: {extras.how_to_install(extra)}"
        )
    module, _, name = place.partition(":")
    made: MakeWriter = getattr(import_module(module), name)
    return made


def _facts(results: Results, format_: str) -> dict[str, Any]:
    return {
        "format": format_,
        "rows": len(results),
        "complete": results.complete,
        "status": {"missing": 0, "ok": 1, "failed": 2},
        "outputs": [asdict(results.output(name)) for name in results.outputs],
        "provenance": results.provenance,
    }


def _write_errors(results: Results, ids: Sequence[str | int], path: Path) -> None:
    """The failed samples, whose ids these are, a JSON document a line."""
    errors = results.table.errors()
    rows, attempts = errors["row"].tolist(), errors["attempts"].tolist()
    with path.open("w") as file:
        for row, id_, kind, message, tried in zip(rows, ids, errors["kind"], errors["message"], attempts, strict=True):
            file.write(json.dumps({"row": row, "id": id_, "kind": kind, "message": message, "attempts": tried}) + "\n")
