"""What is done alone after memory ran out."""

from typing import Any

from jobs.node.messages import Batch
from jobs.node.supervisor.alone import recover
from jobs.node.supervisor.deaths import MemoryShort


class _Crew:
    """One that has all done once it has begun; as one that memory ran out in it has some left."""

    def __init__(self, left: list[Batch]) -> None:
        self.left, self.begun = left, list[Batch]()
        self.settings, self.finished = self, True

    def alone(self, device: str) -> "_Crew":
        return self

    def begin(self, commit_log: object, batches: list[Batch]) -> None:
        self.begun += batches

    def unfinished(self) -> list[Batch]:
        return self.left

    def close(self) -> None:
        pass


def _recovered(left: list[int], rows: tuple[int, int], together: int = 0) -> tuple[list[Batch], list[int], int]:
    crew: Any = _Crew([Batch(row, row + 1) for row in left])
    log: Any = None
    short = MemoryShort(rows, "cpu", "short", together)
    others, fits = recover(crew, short, log, lambda settings: crew, lambda one: None)
    return others, [batch.start for batch in crew.begun], fits


def test_of_several_rows_that_a_pool_worker_was_at_the_first_may_be_done_already() -> None:
    others, alone, _ = _recovered([5, 6, 9], (4, 8))
    assert ([batch.start for batch in others], alone) == ([6, 9], [5])
    assert _recovered([9], (4, 8)) == ([Batch(9, 10)], [], 0)


def test_of_several_samples_in_flight_none_is_done_alone_and_half_as_many_fit() -> None:
    others, alone, fits = _recovered([5, 6, 9], (5, 10), together=3)
    assert ([batch.start for batch in others], alone, fits) == ([5, 6, 9], [], 1)
    others, alone, fits = _recovered([5, 6, 9], (5, 6), together=1)
    assert ([batch.start for batch in others], alone, fits) == ([6, 9], [5], 0)
