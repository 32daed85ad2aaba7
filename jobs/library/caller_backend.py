"""CallerBackend: the backend of a Hierarchy's children: job, samples and results go through the exchange with its caller."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from jobs.job import Job
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.library.answers import PartialAnswer, Returned, TracedSample, check, packed, unsendable
from jobs.library.exchange import Exchange
from jobs.node.batches import BatchWork
from jobs.node.messages import Allocate, Allocated, Broken, Loaded
from jobs.node.worker.loading import describe, failed_sample, traceback_text
from jobs.pickles import Packed, pack
from jobs.storage.records import Commit, FailedSample
from jobs.storage.sample_outputs import check_sample, of_one_row

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

    joins_batches: ClassVar[bool] = False  # each has a slot of the exchange

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

    def results(self, outputs: Any, rows: int, *, own: bool) -> Returned:
        """Packed, and so checked, whatever they hold, before the Job has its memory back."""
        returned = packed(outputs if self._stage else check(outputs, rows))
        return replace(returned, values=returned.values.own) if own else returned

    def sample_results(self, outputs: Any) -> Returned:
        return self.results(of_one_row(check_sample(outputs)), 1, own=True)

    def writer(self, process: int, ask: Callable[[Allocate], Allocated]) -> "CallerWriter":
        return CallerWriter(self._open())

    def failed(self, row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
        sample = failed_sample(row, self._stage or stage, error)
        text = traceback_text(error)
        return TracedSample(row, sample.kind, sample.message, traceback=text[-_TRACEBACK_CHARACTERS:])

    def broken(self, error: OSError) -> Broken:
        return Broken(FailureKind.ERROR, describe(error))


class CallerSamples:
    """The samples in the exchange; remembers the batch that it read last, for a batch that is done in parts.

    A sample is handed out once, since it is for ``load`` to do with it what it likes; whoever asks again gets another.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._slot = 0
        self._start = self._stop = -1
        # Of each row what it is unpickled from, where they lie apart from each other, and what is not handed out yet.
        self._packs: list[Packed] | None = None
        self._samples: dict[int, Any] = {}

    def rows(self, start: int, stop: int) -> list[Any]:
        """Raises whatever unpickling the samples raises, but for those that ``unreadable`` has told."""
        self._turn_to(start)
        if self._packs is None and not all(row in self._samples for row in range(start, stop)):
            # A batch that is done again, in ever smaller parts: each of them would have to unpickle all of it.
            self._samples.clear()
            self._packs = [pack(sample).own for sample in self._exchange.begin(self._slot)[0]]
        return [self._sample(row) for row in range(start, stop)]

    def _sample(self, row: int) -> Any:
        if row not in self._samples:
            assert self._packs is not None
            return self._packs[row - self._start].load()
        return self._samples.pop(row)

    def unreadable(self, start: int, stop: int) -> Mapping[int, BaseException]:
        """All where one of a batch cannot be unpickled, until its caller sends them apart from each other."""
        try:
            self._turn_to(start)
        except MemoryError:
            raise
        except Exception as error:
            slot, _ = self._exchange.slot_of(start)
            self._exchange.cannot_be_read(slot)
            return dict.fromkeys(range(start, stop), error)
        if self._packs is None:
            return {}
        found: dict[int, BaseException] = {}
        for row in range(start, stop):
            try:
                self._samples[row] = self._packs[row - self._start].load()
            except Exception as error:
                found[row] = error
                self._samples[row] = None
        return found

    def _turn_to(self, row: int) -> None:
        """Reads the batch of the row, unless it has."""
        if self._start <= row < self._stop:
            return
        self._start = self._stop = -1
        self._packs, self._samples = None, {}
        self._slot, start = self._exchange.slot_of(row)
        samples, is_apart = self._exchange.begin(self._slot)
        if is_apart:
            self._packs = samples
        else:
            self._samples = dict(enumerate(samples, start))
        self._start, self._stop = start, start + len(samples)


class CallerWriter:
    """Puts results into the slot of their batch."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def keep(self, results: Returned, loaded: Loaded, work: BatchWork) -> None:
        values, rows = results.values, tuple(loaded.rows)
        for place, why in results.unsendable.items():
            work.failed[rows[place]] = unsendable(rows[place], why)
        if results.places is not None:
            rows = tuple(rows[place] for place in results.places)
        if len(rows) == work.batch.stop - work.batch.start:
            work.parts.append(PartialAnswer(None, values))
        elif rows:
            # The slot of the pool worker is reused before the batch is whole.
            work.parts.append(PartialAnswer(tuple(row - work.batch.start for row in rows), values.own))

    def store_rows(self, rows: Sequence[tuple[int, dict[str, Any], float, float]]) -> list[Commit]:
        raise NotImplementedError("a batch has a slot of its own")

    def store(self, work: BatchWork) -> Commit:
        start, stop = work.batch.start, work.batch.stop
        slot, _ = self._exchange.slot_of(start)
        seconds = self._exchange.finish(slot, pack((work.parts, list(work.failed.values()))))
        return Commit(start, stop, split=bool(work.failed), seconds=seconds)
