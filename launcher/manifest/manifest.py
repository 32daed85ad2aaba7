"""Manifest: tables and sample files -> manifest.arrow, streamed, in constant memory.

The sources become one Arrow IPC file, in order, with record batches of 65,536 rows (the last one shorter), so
that row i lies in batch i // 65536. The schema's metadata holds ``{"id": column or null, "rows": n}``. Ids
are text, and unique; where there is no id column the row number is the id.

Several manifests of one run become its parts, one after another in that file: their columns are united (null where a part
lacks one), ids are unique within each, and the metadata has ``"parts": [[name, first row], ...]`` too.
"""

import json
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.errors import InputError
from jobs.references.references import Reference, encode
from jobs.storage.files import replacing
from jobs.storage.manifest_column import as_costs, column_batches
from jobs.storage.records import Part
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY, read_digests
from jobs.storage.upstreams import Upstream
from launcher.manifest.checks import Checks
from launcher.manifest.formats import open_source, written_out
from launcher.manifest.schema import (
    Scan,
    check_columns,
    check_no_references,
    common_references,
    common_schema,
    own_columns,
    same_columns,
    with_all_columns,
)
from launcher.manifest.sources import Source


@dataclass(frozen=True)
class SourceInfo:
    """One entry of data.manifest as read; ``size`` (bytes) and ``mtime`` (seconds) are None for a glob."""

    path: str
    rows: int
    size: int | None
    mtime: float | None


@dataclass(frozen=True)
class ManifestInfo:
    """A written manifest; ``id``: its id column, None for row numbers; ``fingerprint``: xxh3-128 of its values, hex.

    ``digests`` are those of the record batches of the file, by which its readers know it. ``parts`` is empty unless there
    are several manifests; ``upstream``: the run whose samples they are.
    """

    rows: int
    columns: tuple[str, ...]
    id: str | None
    fingerprint: str
    sources: tuple[SourceInfo, ...]
    parts: tuple[Part, ...] = ()
    digests: tuple[str, ...] = ()
    upstream: Upstream | None = None


def build_manifest(
    sources: str | Source | Sequence[str] | Mapping[str, Sequence[str]],
    out: Path,
    id_column: str | None,
    cost_column: str | None,
    *,
    folder: Path | None = None,
    like: pa.Schema | None = None,
) -> ManifestInfo:
    """Writes ``out``, whole or not at all; relative sources start at ``folder`` (default: where we are).

    ``sources`` is one entry of data.manifest, several that are one table, a mapping of names to those, or a source.

    A pattern means sample files, one row each, even where they are tables, unless it ends with .tar. Its columns are ``id``
    (the path as matched: from ``folder`` on, unless the pattern is absolute), ``path`` (absolute), and ``size`` where that is
    the cost column; its default id column is ``id``. ``like`` is the schema of a manifest whose columns and types this one is
    to have. Raises InputError for what is wrong in the sources, with the row, and the line in text files.
    """
    single = [sources] if isinstance(sources, str | Source) else sources
    named: Mapping[str, Sequence[str | Source]] = single if isinstance(single, Mapping) else {"": single}
    start, wanted = Path(os.path.abspath(folder or ".")), {id_column, cost_column}
    groups = {
        name: [source for entry in group for source in _open(entry, start, wanted)] for name, group in named.items()
    }
    for group in groups.values():
        _refuse_twice([source.location for source in group])
    opened = list(chain.from_iterable(groups.values()))
    if id_column is None and all(source.has_ids for source in opened):
        id_column = "id"
    # Before the scans: what changes while it is scanned has another state when it has been read.
    states = [source.state() for source in opened]
    scans = [source.scan() for source in opened]
    rest = iter(scans)
    members = {name: list(islice(rest, len(group))) for name, group in groups.items()}
    parts = tuple(_parts(members)) if isinstance(sources, Mapping) else ()
    rows = sum(scan.rows for scan in scans)
    schema = _schema(list(members.values()), id_column, cost_column)
    references = common_references(scans)
    check_no_references(references, (("data.id", id_column), ("data.cost", cost_column)))
    if like is not None:
        filled = [scan for scan in scans if scan.rows]
        schema = same_columns(schema, like, filled, references, id_column, may_lack=bool(parts))
    schema = schema.with_metadata({METADATA_KEY: json.dumps(_metadata(id_column, rows, parts, references)).encode()})
    checks = Checks(schema, rows, id_column, cost_column, _locator(opened, scans), parts)
    read = zip(opened, scans, states, strict=True)
    _write(out, schema, chain.from_iterable(_unchanged(*one, schema) for one in read), checks)
    infos = [
        SourceInfo(source.location, scan.rows, *(state or (None, None)))
        for source, scan, state in zip(opened, scans, states, strict=True)
    ]
    fingerprint = checks.fingerprint.hexdigest()
    return ManifestInfo(rows, tuple(schema.names), id_column, fingerprint, tuple(infos), parts, read_digests(out))


def _open(entry: str | Source, folder: Path, wanted: Collection[str | None]) -> Iterator[Source]:
    """The source of an entry, or sources, where it has braces."""
    if isinstance(entry, Source):
        yield entry
        return
    for name in written_out(entry, folder):
        yield open_source(name, folder, wanted)


def _refuse_twice(places: Sequence[str]) -> None:
    """Without ids nothing else would tell that each of its samples is there twice."""
    if twice := next((place for place, count in Counter(places).items() if count > 1), None):
        raise InputError(
            f"{twice}: is there twice among the sources of one manifest, and so is each of its samples (data.manifest)"
        )


def _parts(members: Mapping[str, Sequence[Scan]]) -> Iterator[Part]:
    """The rows of each manifest, by the scans of its sources."""
    start = 0
    for name, scans in members.items():
        stop = start + sum(scan.rows for scan in scans)
        yield Part(name, start, stop)
        start = stop


def _metadata(
    id_column: str | None, rows: int, parts: Sequence[Part], references: Mapping[str, Reference]
) -> dict[str, Any]:
    """What the file says of itself."""
    several = {"parts": [[part.name, part.start] for part in parts]} if parts else {}
    return {"id": id_column, "rows": rows, **several, **({"references": encode(references)} if references else {})}


def read_costs(path: Path, column: str) -> npt.NDArray[np.float64]:
    """The cost of each row of a written manifest, float64 [rows]."""
    return np.concatenate([as_costs(values) for values in column_batches(path, column)])


def _schema(parts: Sequence[Sequence[Scan]], id_column: str | None, cost_column: str | None) -> pa.Schema:
    """The manifest's schema. Raises InputError where columns are missing or do not agree."""
    filled = [found for scans in parts if (found := [scan for scan in scans if scan.rows])]
    if not filled:
        names = ", ".join(scan.name for scans in parts for scan in scans)
        raise InputError(f"{names}: no samples; the manifest needs at least one row")
    for scan in chain.from_iterable(filled):
        if not scan.schema.names:
            raise InputError(f"{scan.name}: its samples have no columns at all; each needs one with a value")
        check_columns(scan.schema, scan.name, (("data.id", id_column), ("data.cost", cost_column)))
    return common_schema(filled, id_column)


def _locator(sources: Sequence[Source], scans: Sequence[Scan]) -> Callable[[int], str]:
    """A function from manifest rows to places in the sources."""
    starts = [0, *accumulate(scan.rows for scan in scans)]

    def place(row: int) -> str:
        number = bisect_right(starts, row) - 1
        return sources[number].place(row - starts[number])

    return place


def _unchanged(
    source: Source, scan: Scan, state: tuple[int, float] | None, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The source's batches, with all columns. Raises InputError where it is no longer what the scan saw."""
    rows = 0
    for batch in source.batches(own_columns(schema, scan)):
        rows += batch.num_rows
        if rows <= scan.rows:
            yield with_all_columns(batch, schema)
    if rows != scan.rows or source.state() != state:
        raise InputError(f"{source.name}: changed while it was read; try again when it is complete")


def _write(out: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], checks: Checks) -> None:
    """Writes the manifest, whole or not at all."""
    with replacing(out) as temporary:
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in rechunk(batches):
                checks.update(batch)
                writer.write_batch(batch)
        # Ids are compared in the file before it gets its name: a manifest that is there has passed all checks.
        checks.finish(temporary)


def rechunk(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of BATCH_ROWS, the last one shorter."""
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        pending.append(batch)
        rows += batch.num_rows
        if rows >= BATCH_ROWS:
            table = pa.Table.from_batches(pending)
            full = rows // BATCH_ROWS * BATCH_ROWS
            yield from (joined(table.slice(start, BATCH_ROWS)) for start in range(0, full, BATCH_ROWS))
            pending, rows = table.slice(full).to_batches(), rows - full
    if rows:
        yield joined(pa.Table.from_batches(pending))


def joined(table: pa.Table) -> pa.RecordBatch:
    """The rows as one record batch. Raises InputError where that cannot be."""
    batches = table.combine_chunks().to_batches()
    if len(batches) > 1:  # Arrow could not join the text of a column: its offsets are 32 bits
        raise InputError(f"a column holds over 2 GB in {BATCH_ROWS} rows; put such data into files of their own")
    return batches[0]
