"""CallerBackend: the backend of a Hierarchy's children: job, samples and results go through the exchange with its caller."""

from collections.abc import Callable
from typing import Any

from jobs.job import Job
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.library.answers import PartialAnswer, TracedSample, check, pack_answer
from jobs.library.exchange import Exchange
from jobs.node.batches import BatchWork
from jobs.node.messages import Allocate, Allocated, Broken, Loaded
from jobs.node.worker.loading import describe, failed_sample, traceback_text
from jobs.storage.outputs import own
from jobs.storage.records import Commit, FailedSample

# A traceback is cut to its last characters.
_TRACEBACK_CHARACTERS = 10_000


class FunctionJob(Job):
    """A function of one sample as a Job: it is what loads, and there is nothing else to do."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.load = function  # type: ignore[method-assign, assignment]

    def collate(self, items: list[Any]) -> list[Any]:
        return items

    def process(self, batch: list[Any]) -> Any:
        return batch


class CallerBackend:
    """The exchange is the one that process ``pid`` (the supervisor) has open as ``descriptor``."""

    def __init__(self, pid: int, descriptor: int, slots: int, job_size: int) -> None:
        self._place = (pid, descriptor, slots)
        self._job_size = job_size
        self._exchange: Exchange | None = None
        self._stage: SampleFailureKind | None = None

    def _open(self) -> Exchange:
        if self._exchange is None:
            self._exchange = Exchange.open(*self._place)
        return self._exchange

    def job(self) -> Job:
        found = self._open().job(self._job_size)
        if isinstance(found, type) and issubclass(found, Job):
            return found()
        if isinstance(found, Job):
            return found
        self._stage = SampleFailureKind.PROCESS  # a function neither loads nor processes, for those who wrote it
        return FunctionJob(found)

    def samples(self) -> "CallerSamples":
        return CallerSamples(self._open())

    def own(self, outputs: Any) -> Any:
        """A function's results are objects of their own, one a sample."""
        return outputs if self._stage else own(outputs)

    def writer(self, process: int, ask: Callable[[Allocate], Allocated]) -> "CallerWriter":
        return CallerWriter(self._open(), of_function=self._stage is not None)

    def failed(self, row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
        sample = failed_sample(row, self._stage or stage, error)
        # From the user's code on, as Python prints it.
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        text = traceback_text(error, frames)
        return TracedSample(row, sample.kind, sample.message, traceback=text[-_TRACEBACK_CHARACTERS:])

    def broken(self, error: OSError) -> Broken:
        return Broken(FailureKind.ERROR, describe(error))


class CallerSamples:
    """The samples in the exchange; remembers the batch that it read last, for a batch that is done in parts."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._start = -1
        self._samples: list[Any] = []

    def rows(self, start: int, stop: int) -> list[Any]:
        """Raises whatever unpickling the samples raises."""
        slot, first = self._exchange.slot_of(start)
        if first != self._start:
            self._start, self._samples = -1, []
            self._samples = self._exchange.begin(slot)
            self._start = first
        return self._samples[start - first : stop - first]


class CallerWriter:
    """Puts results into the slot of their batch."""

    def __init__(self, exchange: Exchange, of_function: bool) -> None:
        self._exchange = exchange
        self._of_function = of_function

    def keep(self, outputs: object, loaded: Loaded, work: BatchWork) -> None:
        values: Any = outputs if self._of_function else check(outputs, len(loaded.rows))
        if len(loaded.rows) == work.batch.stop - work.batch.start:
            work.parts.append(PartialAnswer(None, values))
            return
        rows = tuple(row - work.batch.start for row in loaded.rows)
        # The slot of the pool worker is reused before the batch is whole.
        work.parts.append(PartialAnswer(rows, values if self._of_function else own(values)))

    def store(self, work: BatchWork) -> Commit:
        start, stop = work.batch.start, work.batch.stop
        slot, _ = self._exchange.slot_of(start)
        packed, failed = pack_answer((work.parts, list(work.failed.values())), start)
        seconds = self._exchange.finish(slot, packed)
        return Commit(start, stop, split=failed, seconds=seconds)
