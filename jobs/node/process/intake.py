"""Intake: the samples that a process has yet to do: has them loaded, neighbours together, and takes them out of their slots."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from jobs.kinds import SampleFailureKind
from jobs.node.backend import Backend
from jobs.node.messages import Batch, Loaded, Piece
from jobs.node.process.item_size import item_size
from jobs.node.process.job_runner import Fetch
from jobs.node.process.pool import SHARE, Inline, PieceSource
from jobs.node.process.sample_runner import Item, SampleOutcome, SampleRunner
from jobs.node.worker.loading import failed_piece
from jobs.storage.records import FailedSample

# What a process has in hand beside what is in flight: a share of that, or where samples are quick what it does in so many
# seconds, so many rows at the most.
_AHEAD, _AHEAD_SECONDS, _MOST_AHEAD = 0.5, 0.25, 1024
# The most samples that are loaded together. A message costs as much as loading some tiny ones.
_LARGEST_PIECE = 64
# Without pool workers they are loaded in the loop, about so many seconds at a time: others wait meanwhile.
_LOAD_SECONDS = 0.01
_NONE = frozenset[int]()


class Intake:
    """``memory`` is the process's part of the task's, bytes; ``clock`` that of the loop.

    ``settle`` is told of samples that are not to be processed: they have failed.
    """

    def __init__(
        self,
        backend: Backend,
        source: PieceSource,
        in_flight: int,
        memory: int,
        clock: Callable[[], float],
        settle: Callable[[SampleOutcome], None],
    ) -> None:
        self._backend = backend
        self._source = source
        self._in_flight = in_flight
        self._budget = int(SHARE * memory)
        self._clock = clock
        self._settle = settle
        self._batches: dict[int, Batch] = {}
        self._loads_here = isinstance(source, Inline)
        self._item_bytes: float | None = None
        self._load_seconds = _LOAD_SECONDS
        self._ahead = math.ceil(_AHEAD * in_flight)

    # --- what it has

    def __len__(self) -> int:
        """How many samples have no outcome yet."""
        return len(self._batches)

    @property
    def most(self) -> int:
        """How many there may be."""
        return self._in_flight + self._ahead

    def expect(self, rate: float) -> None:
        """So many samples were done a second, lately."""
        quick = min(_MOST_AHEAD, int(rate * _AHEAD_SECONDS))
        self._ahead = max(math.ceil(_AHEAD * self._in_flight), quick)

    def finish(self, row: int) -> Batch | None:
        """A sample has an outcome; returns the batch that it was dealt with, None where it was dropped meanwhile."""
        return self._batches.pop(row, None)

    def clear(self) -> None:
        """Others do what is left."""
        self._batches.clear()

    # --- pieces

    def begin(self, batches: Iterable[Batch]) -> None:
        """Has the samples of some more batches loaded."""
        for batch in batches:
            known = {sample.row: sample for sample in batch.failed}
            self._batches |= dict.fromkeys(range(batch.start, batch.stop), batch)
            self._load(batch.start, batch.stop, known, batch.most)
            for sample in known.values():
                self._settle(SampleOutcome(sample.row, None, sample))

    def _load(self, start: int, stop: int, skip: Collection[int], most: int) -> None:
        """Has the rows loaded, in pieces, but for those in ``skip``."""
        size = min(most or self._piece_rows, self._piece_rows)
        pieces = [
            Piece(self._batches[at].start, at, end, frozenset(skip).intersection(range(at, end)) if skip else _NONE)
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

    def again(self, piece: Piece, batches: Sequence[Batch]) -> list[Piece]:
        """What to load of a piece that its worker died on: one by one where that has been so before."""
        known = {sample.row: sample for batch in batches for sample in batch.failed}
        rows = [row for row in range(piece.start, piece.stop) if row in self._batches and row not in piece.skip]
        for row in rows:
            if row in known:
                self._settle(SampleOutcome(row, None, known[row]))
        alone = any(batch.most == 1 and batch.start < piece.stop and piece.start < batch.stop for batch in batches)
        left = [row for row in rows if row not in known]
        if alone:
            return [Piece(self._batches[row].start, row, row + 1) for row in left]
        return [piece._replace(skip=frozenset(range(piece.start, piece.stop)).difference(left))] if left else []

    # --- what is loaded

    def take(self, runner: SampleRunner) -> bool:
        """Takes pieces out of their slots, which workers need back, as long as there is memory for what they hold.

        Returns whether there is more, after what else the loop has to do by now: samples in flight, messages, the clock.
        """
        until = self._clock() + _LOAD_SECONDS if self._loads_here else math.inf
        while not runner.bytes or runner.bytes < self._budget:
            if self._loads_here and self._clock() > until:
                return True
            fetch = self._source.take()
            if fetch is None:
                return False
            runner.add(self._fetch(fetch, runner))
        return False

    def _fetch(self, fetch: Fetch, runner: SampleRunner) -> Iterator[Item]:
        """The samples of a piece that are to be processed."""
        began = self._clock()
        loaded, arriving = fetch()
        if self._loads_here:
            self._note_load(loaded.piece, self._clock() - began, runner)
        for sample in loaded.failed:
            self._settle(SampleOutcome(sample.row, None, sample))
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
        if failure:
            self._divide(loaded, failure)
            return iter(())
        each, seconds = size // max(len(items), 1), loaded.seconds / max(len(items), 1)
        self._item_bytes = max(self._item_bytes or 0, each)
        batches = self._batches
        pairs = zip(loaded.rows, items, strict=True)
        return (Item(row, item, each, batches[row].most, seconds) for row, item in pairs if row in batches)

    def _note_load(self, piece: Piece, seconds: float, runner: SampleRunner) -> None:
        runner.hold_up(seconds)
        # The slowest of late, so that what waits for a piece never waits long.
        self._load_seconds = max(0.9 * self._load_seconds, seconds / (piece.stop - piece.start), 1e-6)

    def _divide(self, loaded: Loaded, failure: FailedSample) -> None:
        """A piece could not be loaded as a whole: its halves are."""
        rows = [row for row in loaded.rows if row in self._batches]
        if len(loaded.rows) == 1:
            self._settle(SampleOutcome(failure.row, None, failure))
        elif rows:
            middle = rows[len(rows) // 2]
            skip = set(range(rows[0], rows[-1] + 1)).difference(rows)
            for start, stop in ((rows[0], middle), (middle, rows[-1] + 1)):
                self._load(start, stop, skip, stop - start)
