"""Export: an opened result -> a folder in the format of another program, whole or not at all.

It streams: some megabytes of rows are in memory at a time. Beside what the format holds, each folder has _result.json (where
it comes from, its outputs) and _errors.jsonl (the failed samples): names that readers of folders pass over.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs import extras
from jobs.errors import InputError
from jobs.gather.result_file import FAILED, MISSING, OK
from jobs.storage.new_folder import NewFolder
from launcher.export.writer import Contents, MakeWriter
from launcher.results.portions import Portion, portions
from launcher.results.results import Results


@dataclass(frozen=True)
class Format:
    """What writes it, the extra that it needs, and the ways in which it can be compressed."""

    writer: str
    extra: str | None = None
    compressions: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "parquet": Format(
        "launcher.export.parquet:ParquetWriter", None, ("snappy", "zstd", "gzip", "lz4", "brotli", "none")
    ),
    "numpy": Format("launcher.export.numpy_files:NumpyWriter"),
    "webdataset": Format("launcher.export.webdataset:WebDatasetWriter"),
    "zarr": Format("launcher.export.zarr_store:ZarrWriter", "zarr", ("zstd", "gzip", "none")),
    "lance": Format("launcher.export.lance_dataset:LanceWriter", "lance"),
}
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
    compression: str | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Makes the folder ``path``. Whether the result is complete is up to who opened it.

    Raises InputError where there is something already, or the format cannot hold an output or is not installed; DamageError
    where a block is not as it was committed.
    """
    make = _writer(format_, compression)
    facts = _facts(results, format_)
    outputs = tuple(map(results.output, results.outputs))
    text = results.table.ids(0, min(1, len(results))).dtype == object
    failed: list[str | int] = []

    def coming() -> Iterator[Portion]:
        for portion in portions(results, rows_per_file):
            failed.extend(portion.ids[portion.status == FAILED].tolist())
            yield portion
            if progress:
                progress(portion.stop, len(results))

    with NewFolder(path) as folder:
        contents = Contents(len(results), outputs, text, facts, rows_per_file, file_bytes, compression)
        make(folder.temporary, contents).write(coming())
        (folder.temporary / RESULT).write_text(json.dumps(facts, indent=1) + "\n")
        _write_errors(results, failed, folder.temporary / "_errors.jsonl")
        sizes = [file.stat().st_size for file in folder.temporary.rglob("*") if file.is_file()]
        folder.publish()
    return Exported(path, len(results), len(sizes) - 1, sum(sizes))


def format_problem(name: str) -> str | None:
    """What a format lacks here; None where it can be written."""
    try:
        _writer(name, None)
    except InputError as error:
        return str(error)
    return None


def _writer(name: str, compression: str | None) -> MakeWriter:
    """Raises InputError where there is none of this name, it is not compressed so, or what it needs is missing."""
    if name not in FORMATS:
        raise InputError(f"no format {name!r}; valid: {', '.join(FORMATS)}")
    found = FORMATS[name]
    if compression is not None and compression not in found.compressions:
        valid = ", ".join(found.compressions)
        raise InputError(f"{name} has no compression {compression!r}; {f'valid: {valid}' if valid else 'it has none'}")
    if found.extra and extras.missing(found.extra):
        missing = ", ".join(extras.missing(found.extra))
        raise InputError(f"the format {name} needs {missing}: {extras.how_to_install(found.extra)}")
    module, _, writer = found.writer.partition(":")
    made: MakeWriter = getattr(import_module(module), writer)
    return made


def _facts(results: Results, format_: str) -> dict[str, Any]:
    return {
        "format": format_,
        "rows": len(results),
        "complete": results.complete,
        "status": {"missing": MISSING, "ok": OK, "failed": FAILED},
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
