"""UpstreamRows: columns that samples have of another run, read where its attempts have stored them.

Whoever loads samples has one of its own. Neighbouring rows lie in the same batches, so it knows where those of some batches lie
at a time, and finds the next ones when they are asked for: a worker of a task needs a small part of a large run.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.errors import DamageError, LauncherError, RunError
from jobs.gather.budgets import Budgets
from jobs.gather.committed import Committed
from jobs.gather.sources import read_sources
from jobs.gather.stored_rows import StoredRows
from jobs.gather.survey import Survey, Surveyed
from jobs.storage.layouts import read_layout
from jobs.storage.plans import Plan
from jobs.storage.spans import Range, Spans
from jobs.storage.upstreams import ROW, Upstream

# Batches whose places are known at a time: their commits are read together, and take some 100 bytes each then.
_BATCHES = 1024


class FailedUpstreamError(Exception):
    """The sample failed in the run that it is of."""


class UpstreamRows:
    """Of the upstream of a plan. Raises RunError where that is not what it was when the plan was made."""

    def __init__(self, upstream: Upstream) -> None:
        if problem := upstream.objection():
            raise RunError(problem)
        self._upstream = upstream
        self._run = upstream.directory
        self._plan = Plan.read(self._run.plan)
        self._part = next(part for part in self._plan.results if part.name == upstream.manifest)
        self._sources, self._budgets = read_sources(self._run), Budgets(self._run, self._plan)
        self.names: Sequence[str] = upstream.outputs
        self._known: tuple[Range, StoredRows] | None = None
        self._failed: dict[int, str] = {}

    @cached_property
    def _survey(self) -> Survey:
        layout = read_layout(self._run)
        return Survey(self._part.rows, outputs=layout.outputs if layout else ())

    def values(self, batch: pa.RecordBatch) -> Mapping[str, Sequence[Any]]:
        """As launcher.results has them: numbers, arrays, text. Raises OSError where they cannot be read."""
        if not self.names:
            return {}
        rows = _rows(batch)
        first, stop = int(rows[0]), int(rows[-1]) + 1
        with _as_os_error():
            stored = self._stored(first, stop)
            return {name: _column(stored, name, first, stop, rows - first) for name in self.names}

    def unreadable(self, batch: pa.RecordBatch) -> Mapping[int, BaseException]:
        """Those that failed there."""
        if not self._upstream.keeps_failed:
            return {}
        rows = _rows(batch)
        with _as_os_error():
            self._stored(int(rows[0]), int(rows[-1]) + 1)
        failed = ((at, self._failed.get(row)) for at, row in enumerate(rows.tolist()))
        return {at: FailedUpstreamError(f"failed in {self._upstream.name}: {why}") for at, why in failed if why}

    def _stored(self, start: int, stop: int) -> StoredRows:
        """What is known of where rows ``[start, stop)`` lie."""
        if self._known is None or not (self._known[0][0] <= start and stop <= self._known[0][1]):
            if self._known:
                self._known[1].close()
            around = self._around(start, stop)
            stored = self._indexed(around)
            if not stored.has_all(around):
                raise DamageError(f"{self._run.path}: not all that was committed of rows {start}-{stop - 1} is there")
            self._failed = {sample.row: f"{sample.kind}: {sample.message}" for sample in stored.failed()}
            self._known = around, stored
        return self._known[1]

    def _indexed(self, rows: Range) -> StoredRows:
        first = self._part.start
        own = Spans([(first + rows[0], first + rows[1])])
        committed = Committed(self._sources, self._plan.table, own, first)
        return StoredRows.indexed(self._run, self._plan, Surveyed(self._part, committed, self._budgets, self._survey))

    def _around(self, start: int, stop: int) -> Range:
        """Whole batches that have these rows, and those that follow."""
        table, first = self._plan.table, self._part.start
        end = min(max(stop, start + _BATCHES * self._plan.batch_size), self._part.rows)
        return table.batch_at(start + first)[0] - first, table.batch_at(end - 1 + first)[1] - first


@contextmanager
def _as_os_error() -> Iterator[None]:
    """What is wrong with the other run is no sample's fault, as little as a manifest that cannot be read."""
    try:
        yield
    except LauncherError as error:
        raise OSError(errno.EIO, str(error)) from error


def _rows(batch: pa.RecordBatch) -> np.ndarray:
    return np.asarray(batch.column(ROW))


def _column(stored: StoredRows, name: str, first: int, stop: int, places: np.ndarray) -> Sequence[Any]:
    """An output of the rows at these places of ``[first, stop)``; copies, which the Job may change."""
    output = stored.outputs[name]
    if not output.ragged:
        return list(stored.fixed(name, first, stop)[places])
    items, lengths = stored.items(name, first, stop)
    ends = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    pieces = [items[ends[at] : ends[at + 1]] for at in places.tolist()]
    if output.encoding is None:
        return [piece.copy() for piece in pieces]
    text = [piece.tobytes() for piece in pieces]
    return text if output.encoding == "bytes" else [piece.decode(output.encoding) for piece in text]
