"""BatchWork: one batch on its way through a process, whole or, where something in it fails, in parts.

A batch that raises is processed in halves, down to single samples, so that the guilty one fails alone. The parts are
joined again before they are written: a commit is always a whole batch.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.node.messages import Batch, Loaded, Piece
from jobs.storage.outputs import Columns, forms, join
from jobs.storage.records import FailedSample, Output

# A try that fails costs about as much as a piece that does not: one in so many is little.
_PIECES_BEFORE_GROWTH = 64


@dataclass
class BatchWork:
    """What has become of a batch so far; it is complete when no piece is open."""

    batch: Batch
    open: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    split: bool = False
    failed: dict[int, FailedSample] = field(default_factory=dict)
    # (positions in the batch, columns), or what else the backend's writer keeps of a piece
    parts: list[Any] = field(default_factory=list)

    @classmethod
    def begin(cls, batch: Batch) -> "BatchWork":
        return cls(batch, failed={sample.row: sample for sample in batch.failed})

    def pieces(self, most: int = 0) -> list[Piece]:
        """The pieces to load first: the batch as a whole, or at most ``most`` samples at a time, or ``batch.most``."""
        limits = [limit for limit in (most, self.batch.most) if limit]
        return self._open_evenly(self.batch.start, self.batch.stop, min(limits, default=0))

    def halves(self, loaded: Loaded) -> list[Piece]:
        """Two pieces with about half of the piece's samples each."""
        middle = loaded.rows[len(loaded.rows) // 2]
        return self._open((loaded.piece.start, middle, loaded.piece.stop))

    def again(self, piece: Piece, batch: Batch) -> list[Piece]:
        """A piece that its worker died on, with what is known of the batch since."""
        self.failed.update({sample.row: sample for sample in batch.failed})
        self.open -= 1
        return self._open_evenly(piece.start, piece.stop, batch.most)

    def _open_evenly(self, start: int, stop: int, most: int) -> list[Piece]:
        if not 0 < most < stop - start:
            return self._open((start, stop))
        self.split = True
        return self._open((*range(start, stop, most), stop))

    def _open(self, bounds: tuple[int, ...]) -> list[Piece]:
        skip = frozenset(self.failed)
        pieces = [Piece(self.batch.start, start, stop, skip) for start, stop in itertools.pairwise(bounds)]
        self.open += len(pieces)
        return pieces

    def close(self, failed: tuple[FailedSample, ...]) -> None:
        """A piece is through; ``failed`` are the samples of it that failed for good."""
        self.open -= 1
        self.failed.update({sample.row: sample for sample in failed})

    def add(self, piece: Piece, rows: Sequence[int], columns: Columns) -> None:
        """Results of some rows of the batch. They may be views of a slot that is reused before the batch is whole."""
        if (piece.start, piece.stop) != (self.batch.start, self.batch.stop):
            columns = {name: column.copy() for name, column in columns.items()}
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, range) else np.array(rows)
        self.parts.append((numbers - self.batch.start, columns))

    def forms(self) -> list[Output]:
        """The form of the results so far; empty before the first."""
        return forms([columns for _, columns in self.parts])

    def columns(self) -> Columns:
        """The whole batch's outputs, fill values where samples failed; empty where all did."""
        return join(self.parts, self.batch.stop - self.batch.start)


@dataclass
class PieceLimit:
    """How many samples a process takes at a time (0: all of a batch).

    Half as many after memory did not do for more, twice as many again once that has gone well for a while: one sample
    that is too large must not slow down all that follow.
    """

    samples: int = 0
    _done: int = 0

    def shrink(self, samples: int) -> None:
        """So many samples at a time did not fit."""
        self.samples, self._done = max(1, samples // 2), 0

    def passed(self, samples: int) -> None:
        """So many samples at a time did fit."""
        if not self.samples or samples < self.samples:
            return
        self._done += 1
        if self._done >= _PIECES_BEFORE_GROWTH:
            self.samples, self._done = 2 * self.samples, 0
