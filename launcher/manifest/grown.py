"""Grown: a written manifest with rows added at its end, and some rows in the place of others: another file.

The rows that there were keep their numbers. All of them are copied: an Arrow file has its table of contents at its end, and
says in its first bytes how many rows it has.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.storage.records import Part
from jobs.storage.samples import BATCH_ROWS, METADATA_KEY, read_digests
from launcher.manifest.casts import cast_batch
from launcher.manifest.fingerprint import Fingerprint
from launcher.manifest.manifest import rechunk
from launcher.manifest.match import Rows


def read_table(path: Path) -> pa.Table:
    """The rows of a written manifest, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def rows_of(table: pa.Table, rows: Rows) -> pa.Table:
    """Some rows of a table, in this order."""
    if len(rows) and bool((np.diff(rows) == 1).all()):
        return table.slice(int(rows[0]), len(rows))
    return table.take(pa.array(rows))


def write_grown(
    out: Path,
    before: pa.Table,
    changed: Rows,
    others: pa.Table,
    new: Sequence[pa.Table],
    parts: Sequence[Part],
) -> tuple[str, tuple[str, ...]]:
    """Writes ``before``, with ``others`` in rows ``changed`` (ascending), then the rows of ``new``; see ``ManifestInfo``.

    Returns the fingerprint of all values and the digests of the file, as those of a manifest that was made at once.
    """
    rows = before.num_rows + sum(table.num_rows for table in new)
    schema = before.schema.with_metadata({METADATA_KEY: _metadata(before.schema, rows, parts)})
    fingerprint = Fingerprint(schema)
    with pa.OSFile(str(out), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in rechunk(_batches(before, changed, others, new, schema)):
            fingerprint.update(batch)
            writer.write_batch(batch)
    return fingerprint.hexdigest(), read_digests(out)


def _metadata(schema: pa.Schema, rows: int, parts: Sequence[Part]) -> bytes:
    known: dict[str, Any] = json.loads(schema.metadata[METADATA_KEY])
    known |= {"rows": rows, **({"parts": [[part.name, part.start] for part in parts]} if parts else {})}
    return json.dumps(known).encode()


def _batches(
    before: pa.Table, changed: Rows, others: pa.Table, new: Sequence[pa.Table], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for first in range(0, before.num_rows, BATCH_ROWS):
        piece = before.slice(first, BATCH_ROWS)
        begin, end = np.searchsorted(changed, (first, first + piece.num_rows))
        if begin < end:
            piece = _replaced(piece, changed[begin:end] - first, others.slice(begin, end - begin))
        yield from _with_schema(piece, schema)
    for table in new:
        yield from _with_schema(table, schema)


def _replaced(rows: pa.Table, changed: Rows, others: pa.Table) -> pa.Table:
    places = np.arange(rows.num_rows)
    places[changed] = rows.num_rows + np.arange(len(changed))
    return pa.concat_tables([rows, others]).combine_chunks().take(pa.array(places))


def _with_schema(table: pa.Table, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    return (cast_batch(batch, schema) for batch in table.to_batches())
