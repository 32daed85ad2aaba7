"""Match: a manifest compared with an earlier one: which of its rows are new, which are others now.

Rows are the same sample where their ids are; without ids, where they have the same number. Time is that of reading both,
and of one look-up for each id where the later manifest does not begin with the earlier one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.storage.samples import BATCH_ROWS
from launcher.manifest.fingerprint import fingerprint_of
from launcher.manifest.manifest import joined

Rows: TypeAlias = npt.NDArray[np.int64]

# Below so many rows it is quicker to compare them one by one than to look for the half that differs.
_FEW = 256


@dataclass(frozen=True)
class Match:
    """A later manifest against an earlier one, by rows of each, ascending in the later one.

    ``new`` are rows that the earlier one lacks; ``changed`` and ``changed_now`` are the rows, in the earlier and in the later
    one, of samples with the same id and another content; ``gone`` counts those that the later one lacks. ``begins_alike``:
    the later one has the samples of the earlier one first, in their order, and all of them unchanged.
    """

    new: Rows
    changed: Rows
    changed_now: Rows
    gone: int
    begins_alike: bool


def match(before: pa.Table, now: pa.Table, id_column: str | None) -> Match:
    """Compares some rows of two manifests with the same columns."""
    found = _rows_before(before, now, id_column)
    known = np.flatnonzero(found >= 0)
    changed = np.sort(np.concatenate([known[:0], *_differing(before, now, found, known)]))
    in_order = len(known) == before.num_rows and bool((found[: len(known)] == np.arange(len(known))).all())
    new = np.flatnonzero(found < 0)
    return Match(new, found[changed], changed, before.num_rows - len(known), in_order and not len(changed))


def _rows_before(before: pa.Table, now: pa.Table, id_column: str | None) -> Rows:
    """For each row now, the row of the same sample before; -1 where there is none."""
    found = np.full(now.num_rows, -1, np.int64)
    both = min(before.num_rows, now.num_rows)
    if id_column is None:
        found[:both] = np.arange(both)
        return found
    ids, ids_now = before.column(id_column), now.column(id_column)
    if both == before.num_rows and ids_now.slice(0, both).equals(ids):
        found[:both] = np.arange(both)
        return found
    import pyarrow.compute as pc  # which takes 70 ms, and most runs never grow

    # For each id of before its row now, so that memory grows with the new manifest: the old one may be far larger.
    rows_now = pc.index_in(ids, value_set=ids_now).to_numpy(zero_copy_only=False)
    there = np.flatnonzero(~np.isnan(rows_now))
    found[rows_now[there].astype(np.int64)] = there
    return found


def _differing(before: pa.Table, now: pa.Table, found: Rows, known: Rows) -> Iterator[Rows]:
    """Of the known rows, those now that differ, by pieces in which both lie in one record batch."""
    if not len(known):
        return
    pieces = known // BATCH_ROWS * (1 + before.num_rows // BATCH_ROWS) + found[known] // BATCH_ROWS
    order = np.argsort(pieces, kind="stable")
    for rows in np.split(known[order], 1 + np.flatnonzero(np.diff(pieces[order]))):
        old, new = _take(before, found[rows]), _take(now, rows)
        yield rows[list(_unlike(old, new, 0))]


def _take(table: pa.Table, rows: Rows) -> pa.RecordBatch:
    """The rows, which lie near each other, of a table that may be far larger than memory."""
    first, last = int(rows.min()), int(rows.max())
    near = joined(table.slice(first, last + 1 - first))
    return (
        near if len(rows) == near.num_rows and bool((np.diff(rows) == 1).all()) else near.take(pa.array(rows - first))
    )


def _unlike(old: pa.RecordBatch, new: pa.RecordBatch, first: int) -> Iterator[int]:
    """Where two batches of as many rows differ: the half that does is halved again. ``first`` is added."""
    if fingerprint_of(old) == fingerprint_of(new):
        return
    rows = old.num_rows
    if rows > _FEW:
        half = rows // 2
        yield from _unlike(old.slice(0, half), new.slice(0, half), first)
        yield from _unlike(old.slice(half), new.slice(half), first + half)
        return
    # repr, by which NaN is the same as NaN.
    for at, (one, other) in enumerate(zip(old.to_pylist(), new.to_pylist(), strict=True)):
        if repr(one) != repr(other):
            yield first + at
