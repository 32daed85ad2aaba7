"""What every backend of a crew must do: a class of tests that each of them passes (test_backends.py).

A subclass says how one is made for a Job and 16 samples {"x": row} in one shard, two batches of 8, and how to read what was
stored.
"""

import pickle
from abc import ABC, abstractmethod
from collections import UserDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from jobs.errors import OutputError
from jobs.kinds import SampleFailureKind
from jobs.node.backend import Backend, ResultWriter
from jobs.node.batches import BatchWork
from jobs.node.messages import Allocate, Allocated, Batch, Loaded, Piece
from jobs.storage.records import Commit, FailedSample
from tests.example_jobs.toy_jobs import Echo

JOB, ROWS, SIZE = Echo, 16, 8


class World(ABC):
    """A backend with what is around it."""

    backend: Backend

    @abstractmethod
    def ask(self, request: Allocate) -> Allocated:
        """The supervisor's answer to a writer."""

    @abstractmethod
    def stored(self, commit: Commit) -> dict[int, Any]:
        """What is kept of a batch: row -> its y, without the rows that failed."""

    def writer(self) -> ResultWriter:
        return self.backend.writer(0, self.ask)


def outputs(rows: Sequence[int]) -> dict[str, Any]:
    """As of a Job: two numbers a row."""
    return {"y": np.array([[row, row + 0.5] for row in rows])}


def keep(world: World, writer: ResultWriter, work: BatchWork, piece: Piece, returned: object | None = None) -> None:
    """The piece was loaded, without the rows that are known to fail, and processed."""
    rows = [row for row in range(piece.start, piece.stop) if row not in piece.skip]
    results = world.backend.results(outputs(rows) if returned is None else returned, len(rows), own=False)
    writer.keep(results, Loaded(piece, rows, None, ()), work)


class BackendTests:
    """Tests of a backend; a subclass has the fixture ``world``."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    @staticmethod
    def _failed(
        world: World, row: int, error: BaseException, stage: SampleFailureKind = SampleFailureKind.PROCESS
    ) -> FailedSample:
        return world.backend.failed(row, stage, error)

    # --- Job and samples

    def test_every_child_has_a_copy_and_a_job_of_its_own(self, world: World) -> None:
        copies: list[Backend] = [pickle.loads(pickle.dumps(world.backend)) for _ in range(2)]
        jobs = [copy.job() for copy in copies]
        assert [type(job).__name__ for job in jobs] == ["Echo", "Echo"]
        assert jobs[0] is not jobs[1]

    def test_samples_come_in_the_order_of_their_rows_and_as_often_as_they_are_asked_for(self, world: World) -> None:
        samples = world.backend.samples()
        for start, stop in ((0, 8), (2, 5), (8, 16), (15, 16), (0, 1)):
            assert [sample["x"] for sample in samples.rows(start, stop)] == list(range(start, stop))

    def test_the_job_loads_what_comes(self, world: World) -> None:
        (sample,) = world.backend.samples().rows(5, 6)
        np.testing.assert_array_equal(world.backend.job().load(sample), np.full(16, 5.0))

    # --- results

    def test_a_whole_batch_is_stored(self, world: World) -> None:
        writer = world.writer()
        for start in (8, 0):  # batches come in any order
            work = BatchWork.begin(Batch(start, start + SIZE))
            keep(world, writer, work, *work.pieces())
            commit = writer.store(work)
            assert (commit.start, commit.stop, commit.split) == (start, start + SIZE, False)
            assert world.stored(commit) == {row: [row, row + 0.5] for row in range(start, start + SIZE)}

    @pytest.mark.parametrize("most", [1, 3, 8])
    def test_a_batch_in_pieces_is_stored_as_the_whole_one(self, world: World, most: int) -> None:
        writer, work = world.writer(), BatchWork.begin(Batch(0, SIZE))
        for piece in reversed(work.pieces(most)):
            keep(world, writer, work, piece)
        assert world.stored(writer.store(work)) == {row: [row, row + 0.5] for row in range(SIZE)}

    def test_a_piece_is_kept_although_its_slot_is_reused(self, world: World) -> None:
        writer, work = world.writer(), BatchWork.begin(Batch(0, SIZE))
        slot = np.zeros((4, 2))
        for piece in work.pieces(4):
            slot[:] = outputs(range(piece.start, piece.stop))["y"]
            keep(world, writer, work, piece, {"y": slot})
        assert world.stored(writer.store(work)) == {row: [row, row + 0.5] for row in range(SIZE)}

    @pytest.mark.parametrize("container", [dict, UserDict])
    def test_what_is_its_own_does_not_change_with_the_jobs_memory(self, world: World, container: type) -> None:
        world.backend.job()
        writer, work = world.writer(), BatchWork.begin(Batch(0, SIZE))
        returned = container(y=np.ones((SIZE, 2)))
        owned = world.backend.results(returned, SIZE, own=True)
        returned["y"][:] = -1
        (piece,) = work.pieces()
        writer.keep(owned, Loaded(piece, range(SIZE), None, ()), work)
        assert world.stored(writer.store(work)) == {row: [1, 1] for row in range(SIZE)}

    def test_rows_that_failed_are_left_out_and_the_others_stored(self, world: World) -> None:
        failed = (
            self._failed(world, 2, ValueError("bad")),
            self._failed(world, 7, ValueError("bad"), SampleFailureKind.LOAD),
        )
        writer, work = world.writer(), BatchWork.begin(Batch(0, SIZE, failed=failed))
        keep(world, writer, work, *work.pieces())
        commit = writer.store(work)
        assert commit.split
        assert sorted(world.stored(commit)) == [0, 1, 3, 4, 5, 6]

    def test_a_batch_of_which_all_failed_is_stored_too(self, world: World) -> None:
        failed = tuple(self._failed(world, row, ValueError("bad")) for row in range(SIZE))
        writer, work = world.writer(), BatchWork.begin(Batch(0, SIZE, failed=failed))
        assert world.stored(writer.store(work)) == {}

    @pytest.mark.parametrize("returned", [[1] * SIZE, {}, {"y": np.ones(SIZE - 1)}, {"y": 5}, {"y": "12345678"}])
    def test_outputs_that_are_none_are_refused(self, world: World, returned: object) -> None:
        world.backend.job()
        writer, work = world.writer(), BatchWork.begin(Batch(0, SIZE))
        (piece,) = work.pieces()
        with pytest.raises(OutputError):
            keep(world, writer, work, piece, returned)

    # --- what goes wrong

    def test_a_failed_sample_has_row_stage_and_message(self, world: World) -> None:
        sample = self._failed(world, 3, ValueError("bad"), SampleFailureKind.LOAD)
        assert (sample.row, sample.kind, sample.message) == (3, "LOAD", "ValueError: bad")

    def test_lack_of_memory_is_a_kind_of_its_own(self, world: World) -> None:
        assert self._failed(world, 3, MemoryError("all of it")).kind == "OUT_OF_MEMORY"

    def test_a_child_that_cannot_go_on_says_why(self, world: World) -> None:
        broken = world.backend.broken(OSError(5, "Input/output error"))
        assert broken.kind in ("DISK", "ERROR")
        assert "Input/output error" in broken.message
