"""SampleMessenger: the part of a device process that talks, where the Job takes samples one by one.

It does what a Messenger does, in the event loop that the samples run in. It asks for work, since batches do not tell how much a
process has to do of which some samples take long, and stores what is done twice a second, whatever is still in flight.
"""

import asyncio
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from jobs.errors import OutputError
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.node.backend import Backend
from jobs.node.batches import BatchWork
from jobs.node.border import Border
from jobs.node.messages import Batch, Broken, Deal, Done, Halt, Halted, Hungry, Loaded, Lost, Piece, Ready, Stop
from jobs.node.process.item_size import item_size
from jobs.node.process.pool import SHARE, Inline, PieceSource
from jobs.node.process.sample_runner import Item, Outcome, SampleRunner
from jobs.node.process.switchboard import Switchboard
from jobs.node.worker.loading import failed_piece
from jobs.storage.records import Commit, FailedSample
from jobs.storage.sample_outputs import of_one_row, size_of

# Seconds until what is done is stored, and the most rows and bytes that wait for it.
_STORE_SECONDS = 0.5
_STORE_ROWS = 1024
_STORE_BYTES = 8 << 20
# What a process has in hand beside what is in flight: a share of that, or where samples are quick what it does in so many
# seconds, so many rows at the most. It asks for more when there is room for this share of that.
_AHEAD, _AHEAD_SECONDS, _MOST_AHEAD = 0.5, 0.1, 1024
_ASK = 0.25
# The most samples that are loaded together. A message costs as much as loading some tiny ones.
_LARGEST_PIECE = 64
# Without pool workers they are loaded in the loop, about so many seconds at a time: others wait meanwhile.
_LOAD_SECONDS = 0.01
# Of the seconds in which a process that has to leave is to be through, what samples in flight get to finish.
_FINISH = 0.6


class SampleMessenger:
    """``memory`` is the process's part of the task's, bytes. It stops the ``loop`` when the process is to end, and says why."""

    def __init__(
        self,
        connection: Connection,
        backend: Backend,
        process: int,
        source: PieceSource,
        in_flight: int,
        memory: int,
        border: Border,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._board = Switchboard(connection, source, self._obey, self._again)
        self._backend = backend
        self._writer = backend.writer(process, self._board.ask)
        self._source = source
        self._in_flight = in_flight
        self._budget = int(SHARE * memory)
        self._border = border
        self._loop = loop
        self._works: dict[int, BatchWork] = {}
        self._whole: list[BatchWork] = []
        self._rows: list[tuple[int, dict[str, Any], float, float]] = []
        self._bytes = 0
        self._order: list[int] = []
        self._item_bytes: float | None = None
        self._asked = self._settled = 0
        self._ahead = math.ceil(_AHEAD * in_flight)
        self._loads_here = isinstance(source, Inline)
        self._is_loading_due = False
        self._load_seconds = _LOAD_SECONDS
        self._halting: asyncio.TimerHandle | None = None
        self.ended: Stop | Lost | Broken | None = None

    def start(self, runner: SampleRunner) -> None:
        """From now on it listens, in the loop."""
        self._runner = runner
        self._ask()
        self._board.send(Ready())
        self._loop.add_reader(self._board.descriptor, self._turn, self._listen)
        self._tick()

    # --- the loop

    def _turn(self, what: Callable[[], None]) -> None:
        """Does something, and then what follows from it; whatever it raises ends the process."""
        if self.ended:
            return
        self._border.come_back()
        try:
            what()
            self._advance()
        except (EOFError, ConnectionError):
            self._end(Stop())
        except OSError as error:  # of the run directory, mostly: no sample's fault
            self._end(self._backend.broken(error))
        except BaseException as error:  # a fault of ours, which the loop would swallow
            sys.excepthook(type(error), error, error.__traceback__)
            os._exit(os.EX_SOFTWARE)
        self._border.cross()

    def _end(self, how: Stop | Lost | Broken) -> None:
        self.ended = how
        self._loop.remove_reader(self._board.descriptor)
        self._loop.stop()

    def _tick(self) -> None:
        if not self.ended:
            self._loop.call_later(_STORE_SECONDS, self._turn, self._tick)
            self._runner.tick()
            quick = min(_MOST_AHEAD, int(self._settled / _STORE_SECONDS * _AHEAD_SECONDS))
            self._ahead, self._settled = max(math.ceil(_AHEAD * self._in_flight), quick), 0
            self._store()

    def _listen(self) -> None:
        self._board.listen(0)

    def on_outcome(self) -> None:
        """To be called, in the loop, after the runner has something to collect."""
        self._turn(lambda: None)

    def _advance(self) -> None:
        if not self.ended:
            self._take_loaded()
            for outcome in self._runner.collect():
                self._settle(outcome)
            # A caller waits for batches that are whole.
            is_awaited = bool(self._whole) and not self._backend.joins_batches
            if is_awaited or len(self._rows) >= _STORE_ROWS or self._bytes >= _STORE_BYTES:
                self._store()
            if self._runner.broken:
                self._lose(Lost(str(self._runner.broken), self._runner.rows_lost, self._runner.lost_for))
            elif self._halting:
                self._halt_if_through()
            else:
                self._ask()
            self._board.await_room()
            if self._board.has_backlog:
                self._loop.call_soon(self._turn, self._listen)

    def _lose(self, lost: Lost) -> None:
        self._store()
        self._board.send(lost)
        self._end(lost)

    # --- messages

    def _obey(self, message: Any) -> None:
        match message:
            case Deal():
                self._asked = 0
                if self._backend.joins_batches and any(batch.stop - batch.start > 1 for batch in message.batches):
                    why = (
                        "the plan is of batches, and the Job takes samples one by one (process_sample): plan a new run"
                    )
                    self._end(Broken(FailureKind.ERROR, why))
                else:
                    self._begin(message.batches)
            case Halt():
                self._store()
                self._source.drop()
                self._runner.take_back()
                self._halting = self._loop.call_later(_FINISH * message.seconds, self._runner.cancel)
            case Stop():
                self._end(message)

    def _ask(self) -> None:
        """Asks for more once there is room for some, beyond what it has asked for already."""
        room = self._in_flight + self._ahead - len(self._works)
        if room - self._asked >= max(1, _ASK * max(self._in_flight, self._ahead)):
            self._asked = room
            self._board.send(Hungry(len(self._works), room))

    def _halt_if_through(self) -> None:
        if self._halting and not self._runner.busy:
            self._halting.cancel()
            self._halting = None
            self._works.clear()
            self._store()
            self._board.send(Halted())

    # --- loading

    def _begin(self, batches: Iterable[Batch]) -> None:
        for group in self._groups(batches):
            known: dict[int, FailedSample] = {}
            for batch in group:
                work = BatchWork.begin(batch)
                known |= work.failed
                work.open = batch.stop - batch.start
                self._works |= dict.fromkeys(range(batch.start, batch.stop), work)
            self._load(group[0].start, group[-1].stop, known.keys(), group[0].most)
            for sample in known.values():
                self._settle(Outcome(sample.row, None, sample))

    def _groups(self, batches: Iterable[Batch]) -> list[list[Batch]]:
        """Neighbours that may be loaded together."""
        groups: list[list[Batch]] = []
        for batch in batches:
            last = groups[-1][-1] if groups else None
            if last and self._backend.joins_batches and (last.stop, last.most) == (batch.start, batch.most):
                groups[-1].append(batch)
            else:
                groups.append([batch])
        return groups

    def _load(self, start: int, stop: int, skip: Collection[int], most: int) -> None:
        """Has the rows loaded, in pieces, but for those in ``skip``."""
        size = min(most or self._piece_rows, self._piece_rows)
        pieces = [
            Piece(self._works[at].batch.start, at, end, frozenset(row for row in range(at, end) if row in skip))
            for at in range(start, stop, size)
            for end in (min(at + size, stop),)
        ]
        wanted = [piece for piece in pieces if len(piece.skip) < piece.stop - piece.start]
        self._source.submit(wanted)

    @property
    def _piece_rows(self) -> int:
        """How many samples are loaded together: not so many that some would wait for others, or take too much memory."""
        rows = max(1, min(_LARGEST_PIECE, max(self._in_flight, self._ahead) // 4))
        if self._loads_here:
            rows = max(1, min(rows, int(_LOAD_SECONDS / self._load_seconds)))
        if self._item_bytes is None:
            return min(rows, 4)
        return max(1, min(rows, int(self._budget / 4 / max(self._item_bytes, 1))))

    def _again(self, piece: Piece, batches: Sequence[Batch]) -> list[Piece]:
        """What to load of a piece that its worker died on: one by one where that has been so before."""
        known = {sample.row: sample for batch in batches for sample in batch.failed}
        rows = [row for row in range(piece.start, piece.stop) if row in self._works and row not in piece.skip]
        for row in rows:
            if row in known:
                self._settle(Outcome(row, None, known[row]))
        alone = any(batch.most == 1 and batch.start < piece.stop and piece.start < batch.stop for batch in batches)
        left = [row for row in rows if row not in known]
        if alone:
            return [Piece(self._works[row].batch.start, row, row + 1) for row in left]
        return [piece._replace(skip=frozenset(range(piece.start, piece.stop)).difference(left))] if left else []

    def _take_loaded(self) -> None:
        """Takes pieces out of their slots, which workers need back, as long as there is memory for what they hold."""
        until = self._loop.time() + _LOAD_SECONDS
        while not self._halting and (not self._runner.bytes or self._runner.bytes < self._budget):
            if self._loads_here and self._loop.time() > until:
                # After what else the loop has to do by now: samples in flight, messages, the clock.
                if not self._is_loading_due:
                    self._is_loading_due = True
                    self._loop.call_soon(self._turn, self._load_more)
                return
            fetch = self._source.take()
            if fetch is None:
                return
            began = self._loop.time()
            loaded, arriving = fetch()
            if self._loads_here:
                seconds = self._loop.time() - began
                self._runner.hold_up(seconds)
                # The slowest of late, so that what waits for a piece never waits long.
                self._load_seconds = max(
                    0.9 * self._load_seconds, seconds / (loaded.piece.stop - loaded.piece.start), 1e-6
                )
            for sample in loaded.failed:
                self._settle(Outcome(sample.row, None, sample))
            size, items, failure = self._source.size(loaded), list[Any](), loaded.error
            try:
                if loaded.rows and failure is None:
                    items = arriving.take()
                    size = sum(map(item_size, items)) if self._loads_here else size
            except Exception as error:  # whatever unpickling raises
                failure = failed_piece(self._backend, loaded.rows, SampleFailureKind.LOAD, error)
            finally:
                arriving.processed()
                self._source.release(loaded)
            self._go_on(loaded, items, failure, size)

    def _load_more(self) -> None:
        self._is_loading_due = False  # the turn that this is goes on with it

    def _go_on(self, loaded: Loaded, items: Sequence[Any], failure: FailedSample | None, size: int) -> None:
        """The samples of a piece are to be processed; or, where it could not be loaded as a whole, halves are loaded."""
        rows = [row for row in loaded.rows if row in self._works]
        for row in rows:
            self._works[row].load_seconds += loaded.seconds / len(loaded.rows)
        if failure is None:
            each = size // max(len(items), 1)
            self._item_bytes = max(self._item_bytes or 0, each)
            pairs = zip(loaded.rows, items, strict=True)
            self._runner.add(
                Item(row, item, each, self._works[row].batch.most) for row, item in pairs if row in self._works
            )
        elif len(loaded.rows) == 1:
            self._settle(Outcome(failure.row, None, failure))
        elif rows:
            middle = rows[len(rows) // 2]
            skip = set(range(rows[0], rows[-1] + 1)).difference(rows)
            for start, stop in ((rows[0], middle), (middle, rows[-1] + 1)):
                self._load(start, stop, skip, stop - start)

    # --- storing

    def _settle(self, outcome: Outcome) -> None:
        """Keeps what became of a sample; a batch whose last one this was is stored with the next."""
        work = self._works.pop(outcome.row, None)
        if work is None:
            return  # dropped by Halt
        self._settled += 1
        self._order.append(outcome.row)
        if outcome.failure is None and self._backend.joins_batches:
            self._rows.append((outcome.row, outcome.results, outcome.seconds, work.load_seconds))
            self._bytes += size_of(outcome.results)
        else:
            self._keep(work, outcome)

    def _keep(self, work: BatchWork, outcome: Outcome) -> None:
        row, failure = outcome.row, outcome.failure
        if failure is None:
            loaded = Loaded(Piece(row, row, row + 1), range(row, row + 1), None, ())
            try:
                results = outcome.results
                if self._backend.joins_batches:
                    results = self._backend.results(of_one_row(results), 1, own=True)
                self._writer.keep(results, loaded, work)
            except Exception as error:  # what a Job returned may raise anything when it is looked at
                failure = self._backend.failed(row, SampleFailureKind.PROCESS, error)
        work.close((failure,) if failure else ())
        work.seconds += outcome.seconds
        if work.open == 0:
            self._whole.append(work)

    def _store(self) -> None:
        """Stores and reports what is done: rows all together, or one by one where they differ, as one that is to fail does."""
        rows, self._rows, self._bytes = self._rows, [], 0
        commits: list[Commit] = []
        try:
            commits += self._writer.store_rows(rows) if rows else ()
        except (OutputError, ValueError, TypeError, MemoryError):
            for row, results, seconds, load_seconds in rows:
                work = BatchWork.begin(Batch(row, row + 1))
                work.open, work.load_seconds = 1, load_seconds
                self._keep(work, Outcome(row, results, None, seconds))
        whole, self._whole = self._whole, []
        if rows and whole:
            # As they came: failures that lie between good samples are no streak.
            places = {row: place for place, row in enumerate(self._order)}
            commits = sorted([*commits, *map(self._commit, whole)], key=lambda commit: places[commit.start])
        else:
            commits += map(self._commit, whole)
        self._order.clear()
        if commits:
            self._board.send(Done(tuple(commits)))

    def _commit(self, work: BatchWork) -> Commit:
        try:
            return self._writer.store(work)
        except OutputError as error:
            # Another process found another layout first. A batch with places in a file is one row here.
            work.parts.clear()
            work.failed[work.batch.start] = self._backend.failed(work.batch.start, SampleFailureKind.PROCESS, error)
            return self._writer.store(work)
