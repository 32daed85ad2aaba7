"""Finished: what is done while something is being stored is stored the next time."""

from typing import Any

from jobs.kinds import SampleFailureKind
from jobs.node.batches import BatchWork
from jobs.node.messages import Batch
from jobs.node.process.finished import Finished
from jobs.node.process.sample_runner import SampleOutcome
from jobs.storage.records import Commit, FailedSample


def failed(row: int) -> SampleOutcome:
    return SampleOutcome(row, None, FailedSample(row, SampleFailureKind.CRASH, "the pool worker died of it"))


class Asking:
    """A backend, and a writer that asks for the layout each time: meanwhile samples fail, as those that workers died on."""

    joins_batches = True
    finished: Finished

    def __init__(self) -> None:
        self.meanwhile: list[int] = []

    def _ask(self) -> None:
        while self.meanwhile:
            row = self.meanwhile.pop(0)
            self.finished.add(Batch(row, row + 1), failed(row))

    def store_rows(self, rows: list[tuple[int, dict[str, Any], float, float]]) -> list[Commit]:
        self._ask()
        return [Commit(row, row + 1) for row, *_ in rows]

    def store(self, work: BatchWork) -> Commit:
        self._ask()
        return Commit(work.batch.start, work.batch.stop, (), tuple(work.failed.values()))


def test_samples_that_fail_while_others_are_stored_are_told_in_order_and_once() -> None:
    for where in range(2):
        backend: Any = Asking()
        backend.finished = finished = Finished(backend, backend)
        finished.add(Batch(4, 5), SampleOutcome(4, {"y": 1}, None))
        if where:
            finished.add(Batch(2, 3), failed(2))
            backend.store_rows = lambda rows: [Commit(row, row + 1) for row, *_ in rows]
        backend.meanwhile = [7, 8]
        told = [commit.start for commit in finished.store()]
        finished.add(Batch(9, 10), SampleOutcome(9, {"y": 1}, None))
        told += [commit.start for commit in finished.store()]
        assert told == ([4, 2, 7, 8, 9] if where else [4, 7, 8, 9])
