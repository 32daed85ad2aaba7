"""UpstreamRows: columns that samples have of another run, read where its attempts have stored them.

Whoever loads samples has one of its own. Neighbouring rows lie in the same batches, so it knows where those of some batches lie
at a time, and finds the next ones when they are asked for: a worker of a task needs a small part of a large run.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa

from jobs.errors import DamageError, LauncherError, RunError
from jobs.gather.budgets import Budgets
from jobs.gather.committed import Committed
from jobs.gather.sources import Source, sources_of
from jobs.gather.stored_rows import StoredRows
from jobs.gather.survey import Survey, Surveyed
from jobs.kinds import SampleFailureKind
from jobs.nearest import did_you_mean, nearest
from jobs.storage.attempts import Attempts
from jobs.storage.layouts import recall
from jobs.storage.plans import Plan
from jobs.storage.ragged_rows import row_bounds, row_values
from jobs.storage.records import Part
from jobs.storage.spans import Range, Spans, union
from jobs.storage.upstreams import ROW, Upstream

# Batches whose places are known at a time: their commits are read together, and take some 100 bytes each then.
_BATCHES = 1024
# Between two rows that are read together: fewer than this are read for nothing.
_GAP = 64


class FailedUpstreamError(Exception):
    """The sample failed in the run that it is of."""


@dataclass(frozen=True)
class _Found:
    """What has to be known of the run before any of its rows is read."""

    plan: Plan
    part: Part
    attempts: Attempts
    sources: Sequence[Source]
    budgets: Budgets
    survey: Survey

    @classmethod
    def look(cls, upstream: Upstream, attempts: Attempts | None = None) -> Self:
        """``attempts``: as they were looked at before, which takes less."""
        if problem := upstream.objection():
            raise RunError(problem)
        run = upstream.directory
        plan, attempts = Plan.read(run.plan), attempts or Attempts(run)
        sources = sources_of(attempts.read())
        layout = recall(run)  # after them: of a run that goes on it comes to be before anything is done with outputs
        part = next(part for part in plan.results if part.name == upstream.manifest)
        there = {output.name for output in layout.outputs} if layout else {*upstream.outputs}
        if lacking := [name for name in upstream.outputs if name not in there]:
            which = f"{lacking[0]!r} (data.manifest.outputs){did_you_mean(nearest(lacking[0], there))}"
            known = f"it has {', '.join(sorted(there))}"
            raise RunError(f"run {upstream.name} has no output {which}; {known}. Correct the config, and submit that")
        survey = Survey(part.rows, outputs=layout.outputs if layout else ())
        return cls(plan, part, attempts, sources, Budgets(run, plan), survey)

    @cached_property
    def closed(self) -> Spans:
        """The rows of the part that were done then, counted from its first."""
        return self.part.own(union(source.attempt.beat.done for source in self.sources))

    def has(self, start: int, stop: int) -> bool:
        """Whether rows ``[start, stop)`` of the part were."""
        return self.closed.within(start, stop).count == stop - start


@cache
def find(upstream: Upstream) -> _Found:
    """Looks at all attempts of the run, once for a process and those that are forked from it: there may be thousands of each.

    Raises RunError where it is not what it was when the plan was made.
    """
    return _Found.look(upstream)


class UpstreamRows:
    """Of the upstream of a plan. Raises RunError as ``find`` does."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._run = upstream.directory
        self._found = find(upstream)
        self.names: Sequence[str] = upstream.outputs
        self._known: tuple[Range, StoredRows] | None = None
        self._failed: dict[int, str] = {}

    def values(self, batch: pa.RecordBatch) -> Mapping[str, Sequence[Any]]:
        """As launcher.results has them: numbers, arrays, text. Raises OSError where they cannot be read."""
        found: dict[str, list[Any]] = {name: [] for name in self.names}
        for first, rows, stored in self._stretches(batch) if self.names else ():
            with _as_os_error():
                for name, values in found.items():
                    values += _column(stored, name, first, rows - first)
        return found

    def unreadable(self, batch: pa.RecordBatch) -> Mapping[int, BaseException]:
        """Those that failed there."""
        if not self._upstream.keeps_failed:
            return {}
        why = [self._failed.get(row) for _, rows, _ in self._stretches(batch) for row in rows.tolist()]
        return {at: FailedUpstreamError(self._told(text)) for at, text in enumerate(why) if text}

    def _told(self, why: str) -> str:
        """Why a sample failed there; of one that had failed before, where it did first."""
        before = f"{SampleFailureKind.LOAD}: {FailedUpstreamError.__name__}: "
        return why.removeprefix(before) if why.startswith(before) else f"failed in {self._upstream.name}: {why}"

    def _stretches(self, batch: pa.RecordBatch) -> Iterator[tuple[int, np.ndarray, StoredRows]]:
        """Rows near to each other, with the first of them, and where they lie; those of a probe are all over the run."""
        rows = np.asarray(batch.column(ROW))
        steps, gap = np.diff(rows), 1 if self._upstream.overlaps else _GAP  # between them some may not be there yet
        cuts = np.flatnonzero((steps < 1) | (steps > gap)) + 1
        for near in np.split(rows, cuts):
            first, stop = int(near[0]), int(near[-1]) + 1
            with _as_os_error():
                stored = self._stored(first, stop, _BATCHES if not len(cuts) else 1)
            yield first, near, stored

    def _stored(self, start: int, stop: int, batches: int) -> StoredRows:
        """What is known of where rows ``[start, stop)`` lie, and those of so many batches."""
        if self._known is None or not (self._known[0][0] <= start and stop <= self._known[0][1]):
            if self._known:
                self._known[1].close()
            if self._upstream.overlaps and not self._found.has(start, stop):
                self._look_again(start, stop)
            around = self._around(start, stop, batches)
            stored = self._indexed(around)
            if not stored.has_all(around):
                raise DamageError(f"{self._run.path}: not all that was committed of rows {start}-{stop - 1} is there")
            self._failed = {sample.row: f"{sample.kind}: {sample.message}" for sample in stored.failed()}
            self._known = around, stored
        return self._known[1]

    def _look_again(self, start: int, stop: int) -> None:
        """At a run that goes on, of which these rows are there by now."""
        self._found = _Found.look(self._upstream, self._found.attempts)
        if not self._found.has(start, stop):
            raise RunError(f"run {self._upstream.name} has not done rows {Spans([(start, stop)])} yet")

    def _indexed(self, rows: Range) -> StoredRows:
        found, first = self._found, self._found.part.start
        own = Spans([(first + rows[0], first + rows[1])])
        committed = Committed(found.sources, found.plan.table, own, first)
        return StoredRows.indexed(self._run, found.plan, Surveyed(found.part, committed, found.budgets, found.survey))

    def _around(self, start: int, stop: int, batches: int) -> Range:
        """Whole batches that have these rows, and those that follow."""
        plan, first, rows = self._found.plan, self._found.part.start, self._found.part.rows
        end = min(max(stop, start + batches * plan.batch_size), rows)
        if self._upstream.overlaps:  # those that follow may not be done yet
            _, end = next(iter(self._found.closed.within(start, end)))
        return plan.table.batch_at(start + first)[0] - first, plan.table.batch_at(end - 1 + first)[1] - first


@contextmanager
def _as_os_error() -> Iterator[None]:
    """What is wrong with the other run is no sample's fault, as little as a manifest that cannot be read."""
    try:
        yield
    except LauncherError as error:
        raise OSError(errno.EIO, str(error)) from error


def _column(stored: StoredRows, name: str, first: int, places: np.ndarray) -> Sequence[Any]:
    """An output of the rows at these places, which ascend, from row ``first`` on; copies, which the Job may change."""
    stop = first + int(places[-1]) + 1
    output = stored.outputs.get(name)
    if output is None:  # of a run that goes on, which has had no good sample so far
        return [None] * len(places)
    if not output.ragged:
        return list(stored.fixed(name, first, stop)[places])
    items, lengths = stored.items(name, first, stop)
    bounds = row_bounds(lengths).tolist()
    rows = row_values(items, ((bounds[at], bounds[at + 1]) for at in places.tolist()), output.encoding)
    return [row.copy() for row in rows] if output.encoding is None else rows
