"""Messenger: the part of a device process that talks: to the supervisor, to its pool workers, to where results go.

It takes batches from the supervisor, has them loaded, gives them to the JobRunner piece by piece, and reports each as a
Commit once its backend has stored it. All that a process knows of its batches is here, and only here.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from jobs.errors import OutputError, words
from jobs.kinds import SampleFailureKind
from jobs.node.backend import Backend
from jobs.node.batches import BatchWork, PieceLimit
from jobs.node.log import say
from jobs.node.messages import Batch, Deal, Done, Halt, Halted, Lost, Piece, Stop
from jobs.node.process.job_runner import JobRunner, Processed
from jobs.node.process.pool import PieceSource
from jobs.node.process.switchboard import Switchboard
from jobs.node.worker.loading import failed_piece
from jobs.storage.records import Commit, FailedSample

# A report wakes the supervisor, which costs both a tenth of what 1,000 tiny samples take. So batches that take less than
# _TINY seconds to process are reported together, after this many seconds: no more work than that is done again after a kill.
_TOGETHER = 0.01
_TINY = 0.001


class Messenger:
    """The event loop of a process: its thread is the main one, or one of its own (see JobRunner)."""

    def __init__(
        self, connection: Connection, backend: Backend, process: int, source: PieceSource, runner: JobRunner
    ) -> None:
        self._board = Switchboard(connection, source, self._obey, self._again)
        self._backend = backend
        self._writer = backend.writer(process, self._board.ask)
        self._source = source
        self._runner = runner
        self._works: dict[int, BatchWork] = {}
        self._limit = PieceLimit()
        self._stored: list[Commit] = []
        self._reported = 0.0
        self._is_halting = False
        self.must_leave = self.is_lost = False
        self._board.listen_to(runner.descriptor, lambda _: os.eventfd_read(runner.descriptor))

    def run(self, until: Callable[[], bool]) -> None:
        """Returns when ``until`` says so, or the supervisor, or it is gone; raises OSError where storage fails."""
        try:
            self._loop(until)
        except (EOFError, ConnectionError):
            self.must_leave = True
        if self.must_leave:
            self._source.stop()  # the workers follow as their pipes close

    def _loop(self, until: Callable[[], bool]) -> None:
        try:
            while not (until() or self.must_leave):
                while self._runner.has_room and not self._is_halting and (fetch := self._source.take()):
                    self._runner.give(fetch)
                is_busy = False
                while not self.is_lost and (processed := self._runner.collect()):
                    self._handle(processed)
                    is_busy = True
                self._halt_if_through()
                due = self._report()
                self._board.listen(0 if is_busy else due)
        finally:
            self._send_stored()  # whatever ended it, what is stored counts

    # --- messages

    def _obey(self, message: Any) -> None:
        match message:
            case Deal():
                for batch in message.batches:
                    work = self._works[batch.start] = BatchWork.begin(batch)
                    self._source.submit(work.pieces(self._limit.samples))
            case Halt():
                self._is_halting = True
                self._runner.take_back()
                self._halt_if_through()
            case Stop():
                self.must_leave = True

    def _halt_if_through(self) -> None:
        """At Halt, the process finishes the piece at hand and drops the rest."""
        if self._is_halting and not self._runner.busy:
            self._is_halting = False
            self._source.drop()
            self._works.clear()
            self._send_stored()
            self._board.send(Halted())

    def _again(self, piece: Piece, batches: Sequence[Batch]) -> list[Piece]:
        """What to load of a piece that its worker died on."""
        work = self._works.get(piece.batch)
        if work is None:
            return []
        return work.again(piece, next((batch for batch in batches if batch.start == piece.batch), work.batch))

    # --- one piece

    def _handle(self, processed: Processed) -> None:
        """Keeps the results of a piece; a batch whose last piece this was is stored."""
        loaded = processed.loaded
        if processed.broken:
            self._lose(words(processed.broken), tuple(loaded.rows))
            return
        work = self._works.get(loaded.piece.batch)
        if work:  # else dropped by Halt
            work.seconds += processed.seconds
            work.load_seconds += loaded.seconds
            self._source.submit(self._keep(work, processed))
            if work.open == 0:
                self._commit(work)
        # Last of all: results may be views of the slot.
        self._source.release(loaded)

    def _lose(self, message: str, rows: tuple[int, ...]) -> None:
        """The process can do no more; what is stored counts, and the rest is for another one."""
        self._send_stored()
        self._board.send(Lost(message, rows))
        self.must_leave = self.is_lost = True

    def _keep(self, work: BatchWork, processed: Processed) -> list[Piece]:
        """Returns the pieces to try instead where it failed."""
        loaded, failure = processed.loaded, processed.failure
        if loaded.rows and failure is None:
            try:
                self._writer.keep(processed.results, loaded, work)
                self._limit.passed(len(loaded.rows))
            except Exception as error:  # what a Job returned may raise anything when it is looked at
                failure = failed_piece(self._backend, loaded.rows, SampleFailureKind.PROCESS, error)
        if failure and processed.is_final:
            work.close((*loaded.failed, *(replace(failure, row=row) for row in loaded.rows)))
            return []
        if failure:
            return self._divide(work, processed, failure)
        work.close(loaded.failed)
        return []

    def _divide(self, work: BatchWork, processed: Processed, failure: FailedSample) -> list[Piece]:
        """Halves of a piece that failed as a whole; a single sample has failed for good."""
        loaded = processed.loaded
        work.split = True
        if len(loaded.rows) == 1:
            work.close((*loaded.failed, failure))
            return []
        if failure.kind is SampleFailureKind.OUT_OF_MEMORY:
            # What comes next would not fit either.
            self._limit.shrink(len(loaded.rows))
            fewer = self._limit.samples
            say(f"out of memory with {len(loaded.rows)} samples: going on with {fewer} at a time")
        work.close(loaded.failed)
        return work.halves(loaded)

    # --- one batch

    def _commit(self, work: BatchWork) -> None:
        """Stores the batch and reports it."""
        start, stop = work.batch.start, work.batch.stop
        try:
            commit = self._writer.store(work)
        except OutputError:
            # Another process found another layout first; now that it is known, the samples are checked one by one.
            self._obey(Deal((Batch(start, stop, most=1, failed=tuple(work.failed.values())),)))
            return
        del self._works[start]
        self._stored.append(commit)

    def _report(self) -> float | None:
        """Reports what is stored, tiny batches together; returns in how many seconds the rest is due, if there is any."""
        if not self._stored:
            return None
        left = self._reported + _TOGETHER - time.monotonic()
        if left > 0 and self._works and self._stored[-1].seconds < _TINY:
            return left
        self._send_stored()
        return None

    def _send_stored(self) -> None:
        if self._stored:
            self._board.send(Done(tuple(self._stored)))
            self._stored.clear()
            self._reported = time.monotonic()
