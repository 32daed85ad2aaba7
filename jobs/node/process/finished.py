"""Finished: what became of the samples of a process, until it is stored: rows all together, batches as they get whole."""

from typing import Any

from jobs.errors import OutputError
from jobs.kinds import SampleFailureKind
from jobs.node.backend import Backend, ResultWriter
from jobs.node.batches import BatchWork
from jobs.node.messages import Batch, Loaded, Piece
from jobs.node.process.sample_runner import SampleOutcome
from jobs.storage.records import Commit
from jobs.storage.sample_outputs import of_one_row, size_of

# The most rows and bytes that wait to be stored.
_ROWS = 1024
_BYTES = 8 << 20


class Finished:
    """Where the backend joins batches, each sample is a batch of its own, whichever it was dealt with."""

    def __init__(self, backend: Backend, writer: ResultWriter) -> None:
        self._backend = backend
        self._writer = writer
        self._joins = backend.joins_batches
        # Of batches with a slot of their own, those that some samples are done of.
        self._works: dict[int, BatchWork] = {}
        self._whole: list[BatchWork] = []
        self._rows: list[tuple[int, dict[str, Any], float, float]] = []
        self._bytes = 0
        self._order: list[int] = []

    def add(self, batch: Batch, outcome: SampleOutcome) -> None:
        """What became of a sample of this batch."""
        self._order.append(outcome.row)
        if outcome.failure is None and self._joins:
            self._rows.append((outcome.row, outcome.results, outcome.seconds, outcome.load_seconds))
            self._bytes += size_of(outcome.results)
            return
        start, stop = (outcome.row, outcome.row + 1) if self._joins else (batch.start, batch.stop)
        work = self._works.get(start)
        if work is None:
            work = self._works[start] = BatchWork(Batch(start, stop), stop - start)
        self._keep(work, outcome)

    def forget(self) -> None:
        """Batches that are not whole yet are another's to do."""
        self._works.clear()

    @property
    def is_due(self) -> bool:
        """Whether to store what there is at once: it is much, or a caller waits for it."""
        is_awaited = bool(self._whole) and not self._joins
        return is_awaited or len(self._rows) >= _ROWS or self._bytes >= _BYTES

    def _keep(self, work: BatchWork, outcome: SampleOutcome) -> None:
        row, failure = outcome.row, outcome.failure
        if failure is None:
            loaded = Loaded(Piece(row, row, row + 1), range(row, row + 1), None, ())
            try:
                results = outcome.results
                if self._joins:
                    results = self._backend.results(of_one_row(results), 1, own=True)
                self._writer.keep(results, loaded, work)
            except Exception as error:  # what a Job returned may raise anything when it is looked at
                failure = self._backend.failed(row, SampleFailureKind.PROCESS, error)
        work.close((failure,) if failure else ())
        work.seconds += outcome.seconds
        work.load_seconds += outcome.load_seconds
        if work.open == 0:
            self._works.pop(work.batch.start, None)
            self._whole.append(work)

    def store(self) -> tuple[Commit, ...]:
        """Stores what is done: rows all together, or one by one where they differ, as one that is to fail does."""
        rows, self._rows, self._bytes = self._rows, [], 0
        # From here on: a writer that asks for the layout hears of new workers meanwhile, and samples that the old ones died on
        # are added.
        order, self._order = self._order, []
        commits: list[Commit] = []
        try:
            commits += self._writer.store_rows(rows) if rows else ()
        except (OutputError, ValueError, TypeError, MemoryError):
            for row, results, *seconds in rows:
                self._keep(BatchWork(Batch(row, row + 1), 1), SampleOutcome(row, results, None, *seconds))
        whole, self._whole = self._whole, []
        if rows and whole:
            # As they came: failures that lie between good samples are no streak.
            places = {row: place for place, row in enumerate((*order, *self._order))}
            commits = sorted([*commits, *map(self._commit, whole)], key=lambda commit: places[commit.start])
        else:
            commits += map(self._commit, whole)
        return tuple(commits)

    def _commit(self, work: BatchWork) -> Commit:
        try:
            return self._writer.store(work)
        except OutputError as error:
            # Another process found another layout first. A batch with places in a file is one row here.
            work.parts.clear()
            work.failed[work.batch.start] = self._backend.failed(work.batch.start, SampleFailureKind.PROCESS, error)
            return self._writer.store(work)
