"""Checks of a manifest while it is written: cells can be read, ids are there and unique, costs are numbers.

Memory is 8 bytes a row: ids are compared by their hashes, and by themselves where two hashes are equal.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.errors import InputError
from jobs.storage.manifest_column import as_costs, column_batches
from jobs.storage.records import Part
from jobs.storage.samples import BATCH_ROWS
from launcher.manifest.cells import unreadable
from launcher.manifest.fingerprint import Fingerprint
from launcher.manifest.id_hashes import id_hashes

Place: TypeAlias = Callable[[int], str]
_SHOWN = 5


class CellCheck:
    """Refuses cells that array tasks could not read."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if found := unreadable(column):
                row, problem = found
                raise InputError(
                    f"{self._place(self._rows + row)}: column {name!r} is {column.type}, and no value of Python's: "
                    f"{problem}; mend it, or leave the column out"
                )
        self._rows += batch.num_rows


class IdCheck:
    """Refuses ids that are missing, empty or twice in one part; ``place`` says where a manifest row comes from."""

    def __init__(self, column: str, rows: int, place: Place, parts: Sequence[Part]) -> None:
        self._column = column
        self._place = place
        self._parts = parts or (Part(None, 0, rows),)
        self._hashes = np.empty(rows, np.uint64)
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        hashes = id_hashes(batch.column(self._column))
        if not hashes.all():
            where = self._place(self._rows + int(np.argmin(hashes)))
            raise InputError(f"{where}: has no id in column {self._column!r}; every sample needs one")
        self._hashes[self._rows : self._rows + len(hashes)] = hashes
        self._rows += len(hashes)

    def finish(self, manifest: Path) -> None:
        """Raises InputError where an id is there twice; ``manifest`` holds the rows given to ``update``."""
        for part in self._parts:
            ordered = self._hashes[part.start : part.stop]
            ordered.sort()  # where they lie: of many rows they are most of what a plan takes
            suspects = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
            if suspects.size:
                rows = self._rows_of(manifest, suspects, part)
                self._compare(manifest, rows, rows.size - suspects.size)

    def _rows_of(self, manifest: Path, hashes: npt.NDArray[np.uint64], part: Part) -> npt.NDArray[np.int64]:
        """The rows of a part whose ids have one of these hashes."""
        batches = enumerate(column_batches(manifest, self._column))
        found = [BATCH_ROWS * number + np.flatnonzero(np.isin(id_hashes(ids), hashes)) for number, ids in batches]
        rows = np.concatenate(found)
        return rows[(part.start <= rows) & (rows < part.stop)]

    def _compare(self, manifest: Path, rows: npt.NDArray[np.int64], most: int) -> None:
        """Compares the ids of the rows, whose hashes are not unique, themselves."""
        first: dict[str, int] = {}
        pairs: list[tuple[str, int, int]] = []
        for row, value in zip(rows.tolist(), _values(manifest, self._column, rows), strict=True):
            before = first.setdefault(value, row)
            if before != row:
                pairs.append((value, before, row))
            if len(pairs) == _SHOWN:
                break
        if not pairs:
            return
        value, before, row = pairs[0]
        others = [f"; so are {other!r} in rows {one + 1} and {two + 1}" for other, one, two in pairs[1:]]
        raise InputError(
            f"{self._place(row)}: id {value!r} is already that of {self._place(before)}{''.join(others)}; "
            f"{most} row(s) in all repeat an id. Ids (column {self._column!r}) must be unique: "
            "choose another column as data.id, or leave it out to use row numbers"
        )


class CostCheck:
    """Refuses costs that are not finite numbers from 0."""

    def __init__(self, column: str, place: Place) -> None:
        self._column = column
        self._place = place
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        column = batch.column(self._column)
        costs = as_costs(column)
        wrong = np.flatnonzero(~(np.isfinite(costs) & (costs >= 0)))
        if wrong.size:
            value = column[int(wrong[0])].as_py()
            where = self._place(self._rows + int(wrong[0]))
            shown = "nothing" if value in (None, "") else repr(value)
            raise InputError(
                f"{where}: cost in column {self._column!r} (data.cost) must be a number from 0, not {shown}"
            )
        self._rows += len(costs)


class Checks:
    """What sees every batch that is written: cells, ids, costs and the fingerprint."""

    def __init__(
        self,
        schema: pa.Schema,
        rows: int,
        id_column: str | None,
        cost_column: str | None,
        place: Place,
        parts: Sequence[Part] = (),
    ) -> None:
        self.fingerprint = Fingerprint(schema)
        self._cells = CellCheck(place)
        self._ids = None if id_column is None else IdCheck(id_column, rows, place, parts)
        self._costs = None if cost_column is None else CostCheck(cost_column, place)

    def update(self, batch: pa.RecordBatch) -> None:
        # First, because the others read cells.
        self._cells.update(batch)
        self.fingerprint.update(batch)
        for check in (self._ids, self._costs):
            if check is not None:
                check.update(batch)

    def finish(self, manifest: Path) -> None:
        if self._ids is not None:
            self._ids.finish(manifest)


def _values(manifest: Path, column: str, rows: npt.NDArray[np.int64]) -> Iterator[str]:
    """The column's values in the given rows, which ascend."""
    for number, values in enumerate(column_batches(manifest, column)):
        first = number * BATCH_ROWS
        begin, end = np.searchsorted(rows, (first, first + BATCH_ROWS))
        yield from values.take(pa.array(rows[begin:end] - first)).to_pylist()
