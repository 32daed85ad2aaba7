"""Loader: manifest rows -> items -> batch, with the Job's load and collate; one bad sample fails alone.

In a pool worker, or in a process that loads its own samples.
"""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from jobs import extras
from jobs.job import Job, stack
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.node.backend import Backend
from jobs.node.beacon import Beacon
from jobs.node.generators import seed_generators
from jobs.node.messages import Broken, Loaded, Piece
from jobs.storage.records import FailedSample

_MESSAGE_CHARACTERS = 500
# How a GPU without memory is reported where it is not torch's allocator that asks: CUDA's own needs, cuBLAS, cuDNN.
_NO_DEVICE_MEMORY = ("CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
# Tracebacks that one child prints into the log: the journal has every failed sample, the log need not.
_TRACEBACKS = 20
_printed = 0


def failed_sample(row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
    """The record of a sample that raised; ``stage`` is LOAD or PROCESS, and lack of memory has its own kind."""
    kind = SampleFailureKind.OUT_OF_MEMORY if is_out_of_memory(error) else stage
    return FailedSample(row, kind, describe(error))


def failed_piece(backend: Backend, rows: Sequence[int], stage: SampleFailureKind, error: BaseException) -> FailedSample:
    """Why a piece failed as a whole, as of its first row; a single sample has failed for good, which the backend notes."""
    note = backend.failed if len(rows) == 1 else failed_sample
    return note(rows[0], stage, error)


def is_out_of_memory(error: BaseException) -> bool:
    """True for lack of the host's memory, and of a device's (torch's error known by its name: torch may not be loaded)."""
    return (
        _is_out_of_host_memory(error)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in str(error) for text in _NO_DEVICE_MEMORY)
    )


def _is_out_of_host_memory(error: BaseException) -> bool:
    """Python's MemoryError and numpy's, and what torch says."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def is_device_lost(error: BaseException) -> bool:
    """True where CUDA can do no more in this process: a device gone, or a kernel that failed and took the context along.

    torch says "CUDA error: ..." (AcceleratorError, before 2.8 RuntimeError), and every later call says it again.
    """
    return "CUDA error" in str(error) and not is_out_of_memory(error)


def broken(stage: str, error: BaseException) -> Broken:
    """What a child says that could not be set up; of lack of memory only the host's: more of it may be had."""
    kind = FailureKind.OUT_OF_MEMORY if _is_out_of_host_memory(error) else FailureKind.ERROR
    return Broken(kind, f"{stage}: {describe(error)}")


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}{extras.advice(error)}"[:_MESSAGE_CHARACTERS]


def too_long(sample_timeout: float) -> str:
    """The message of a sample that was not done in time."""
    return f"took longer than sample_timeout ({sample_timeout:g} s)"


def print_traceback(row: int, stage: SampleFailureKind, error: BaseException) -> None:
    """Puts the traceback of a sample that failed for good into the log, for the first few of them."""
    global _printed
    _printed += 1
    if _printed <= _TRACEBACKS:
        text = "".join(traceback.format_exception(error))
        more = "further tracebacks of this process are not printed\n" if _printed == _TRACEBACKS else ""
        print(f"sample {row} failed ({stage}):\n{text}{more}", end="", file=sys.stderr, flush=True)


# (items, samples that failed, None); or ([], failed, why the others do not fit into memory together).
_Items = tuple[list[Any], list[FailedSample], FailedSample | None]


class Loader:
    """Loads pieces; ``place`` puts a collated batch where its process will see it.

    ``join`` is how the default ``collate`` stacks arrays: a pool worker does it right in the slot.
    """

    def __init__(
        self,
        job: Job,
        backend: Backend,
        beacon: Beacon,
        seed: int,
        join: Callable[[Sequence[np.ndarray]], Any],
        sample_timeout: float = float("inf"),
    ) -> None:
        self._job = job
        self._samples = backend.samples()
        self._backend = backend
        self._beacon = beacon
        self._seed = seed
        self._sample_timeout = sample_timeout
        is_default = getattr(job.collate, "__func__", None) is Job.collate
        self._collate = partial(stack, join=join) if is_default else job.collate
        self._load_piece = self._load_rows
        if inspect.iscoroutinefunction(job.load):
            # asyncio takes a while to import, and few Jobs need it.
            from jobs.node.worker.async_loads import AsyncLoads, TookTooLong

            self._load_all = AsyncLoads(job.load, beacon, sample_timeout)
            self._took_too_long = TookTooLong
            self._load_piece = self._load_concurrently

    def load(self, piece: Piece, place: Callable[[int, Any], Any] = lambda slot, batch: batch) -> Loaded:
        """Loads and collates; never raises for what the Job raises. The beacon is idle again when it returns."""
        seed_generators(self._seed, piece.start)
        items, failed, error = self._load_piece(piece)
        rows: Sequence[int] = range(piece.start, piece.stop)
        if missing := piece.skip.union(sample.row for sample in failed):
            rows = tuple(row for row in rows if row not in missing)
        batch = None
        if items:
            self._beacon.at(piece.start, piece.stop)
            try:
                batch = place(piece.slot, self._collate(items))
            except (Exception, SystemExit) as problem:
                error = failed_piece(self._backend, rows, SampleFailureKind.LOAD, problem)
        self._beacon.idle()
        return Loaded(piece, rows, batch, tuple(failed), error)

    def _load_rows(self, piece: Piece) -> _Items:
        items: list[Any] = []
        failed: list[FailedSample] = []
        load = self._job.load
        words, at = self._beacon.one_by_one()
        for row, sample in self._wanted(piece):
            words[at] = row
            try:
                items.append(load(sample))
            except (Exception, SystemExit) as problem:
                if items and is_out_of_memory(problem):  # perhaps not its own fault: the process tries halves
                    return [], failed, failed_sample(row, SampleFailureKind.LOAD, problem)
                failed.append(self._backend.failed(row, SampleFailureKind.LOAD, problem))
        return items, failed, None

    def _wanted(self, piece: Piece) -> Iterable[tuple[int, Any]]:
        numbered = enumerate(self._samples.rows(piece.start, piece.stop), piece.start)
        return [(row, sample) for row, sample in numbered if row not in piece.skip] if piece.skip else numbered

    def _load_concurrently(self, piece: Piece) -> _Items:
        """The same for an async load, whose samples share the memory: which of them was one too many is not known."""
        samples = dict(self._wanted(piece))
        items: list[Any] = []
        failed: list[FailedSample] = []
        short: list[tuple[int, BaseException]] = []
        for row, (item, problem) in zip(samples, self._load_all(samples), strict=True):
            if problem is None:
                items.append(item)
            elif isinstance(problem, self._took_too_long):
                failed.append(FailedSample(row, SampleFailureKind.SAMPLE_TIMEOUT, too_long(self._sample_timeout)))
            elif is_out_of_memory(problem) and len(samples) > 1:
                short.append((row, problem))
            else:
                failed.append(self._backend.failed(row, SampleFailureKind.LOAD, problem))
        if short:
            return [], failed, failed_sample(short[0][0], SampleFailureKind.LOAD, short[0][1])
        return items, failed, None
