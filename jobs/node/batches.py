"""BatchWork: one batch on its way through a process, whole or, where something in it fails, in parts.

A batch that raises is processed in halves, down to single samples, so that the guilty one fails alone. The parts are
joined again before they are written: a commit is always a whole batch.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np

from jobs.node.messages import Batch, Loaded, Piece
from jobs.storage.outputs import Columns, join
from jobs.storage.records import FailedSample, Output


@dataclass
class BatchWork:
    """What has become of a batch so far; it is complete when no piece is open."""

    batch: Batch
    open: int = 0
    seconds: float = 0.0
    split: bool = False
    failed: dict[int, FailedSample] = field(default_factory=dict)
    parts: list[tuple[np.ndarray, Columns]] = field(default_factory=list)

    @classmethod
    def begin(cls, batch: Batch) -> "BatchWork":
        return cls(batch, split=batch.split, failed={sample.row: sample for sample in batch.failed})

    def pieces(self) -> list[Piece]:
        """The pieces to load first: the batch as a whole, or its samples one by one where it is split."""
        start, stop = self.batch.start, self.batch.stop
        bounds = range(start, stop + 1) if self.batch.split else (start, stop)
        return self._open(bounds)

    def halves(self, loaded: Loaded) -> list[Piece]:
        """Two pieces with about half of the piece's samples each."""
        middle = loaded.rows[len(loaded.rows) // 2]
        return self._open((loaded.piece.start, middle, loaded.piece.stop))

    def again(self, piece: Piece, batch: Batch) -> list[Piece]:
        """A piece that its worker died on, with what is known of the batch since."""
        self.failed.update({sample.row: sample for sample in batch.failed})
        self.open -= 1
        self.split |= batch.split
        bounds = range(piece.start, piece.stop + 1) if batch.split else (piece.start, piece.stop)
        return self._open(bounds)

    def _open(self, bounds: range | tuple[int, ...]) -> list[Piece]:
        skip = frozenset(self.failed)
        pieces = [Piece(self.batch.start, start, stop, skip) for start, stop in itertools.pairwise(bounds)]
        self.open += len(pieces)
        return pieces

    def close(self, failed: tuple[FailedSample, ...]) -> None:
        """A piece is through; ``failed`` are the samples of it that failed for good."""
        self.open -= 1
        self.failed.update({sample.row: sample for sample in failed})

    def add(self, piece: Piece, rows: tuple[int, ...], columns: Columns) -> None:
        """Results of some rows of the batch. They may be views of a slot that is reused before the batch is whole."""
        if (piece.start, piece.stop) != (self.batch.start, self.batch.stop):
            columns = {name: column.copy() for name, column in columns.items()}
        self.parts.append((np.array(rows) - self.batch.start, columns))

    def forms(self) -> list[Output]:
        """The form of the results so far; empty before the first."""
        return [column.form(name) for name, column in self.parts[0][1].items()] if self.parts else []

    def columns(self) -> Columns:
        """The whole batch's outputs, fill values where samples failed; empty where all did."""
        return join(self.parts, self.batch.stop - self.batch.start)
