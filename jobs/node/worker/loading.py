"""Loader: manifest rows -> items -> batch, with the Job's load and collate; one bad sample fails alone.

In a pool worker, or in a process that loads its own samples.
"""

import inspect
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from jobs import extras
from jobs.errors import described
from jobs.job import Job, stack, takes_samples
from jobs.kinds import FailureKind, SampleFailureKind
from jobs.machine.kernel_kills import KernelKills
from jobs.node.backend import Backend
from jobs.node.beacon import Beacon
from jobs.node.generators import seed_generators
from jobs.node.log import ERR, say
from jobs.node.memory_errors import is_out_of_host_memory, is_out_of_memory
from jobs.node.messages import Broken, Loaded, Piece
from jobs.node.slots import Items
from jobs.node.twins import end_twin
from jobs.storage.records import FailedSample
from jobs.tracebacks import own_frames

_MESSAGE_CHARACTERS = 500
# Tracebacks that one child prints into the log: the journal has every failed sample, the log need not.
_TRACEBACKS = 20
_printed = 0
_lost_for = ""


def failed_sample(row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
    """The record of a sample that raised; ``stage`` is LOAD or PROCESS, and lack of memory has its own kind."""
    kind = SampleFailureKind.OUT_OF_MEMORY if is_out_of_memory(error) else stage
    return FailedSample(row, kind, describe(error))


def failed_piece(backend: Backend, rows: Sequence[int], stage: SampleFailureKind, error: BaseException) -> FailedSample:
    """Why a piece failed as a whole, as of its first row; a single sample has failed for good, which the backend notes."""
    note = backend.failed if len(rows) == 1 else failed_sample
    return note(rows[0], stage, error)


def untold(row: int, stage: SampleFailureKind, problem: BaseException) -> FailedSample:
    """The record of a sample of which not even the failure could be looked at."""
    return FailedSample(row, stage, f"why it failed cannot be told: {described(problem)}"[:_MESSAGE_CHARACTERS])


def broken(stage: str, error: BaseException, kernel_kills: KernelKills) -> Broken:
    """What a child says that could not be set up; of lack of memory only the host's: more of it may be had."""
    is_short = is_out_of_host_memory(error) or kernel_kills.look() > 0
    kind = FailureKind.OUT_OF_MEMORY if is_short else FailureKind.ERROR
    return Broken(kind, f"{stage}: {describe(error)}")


def describe(error: BaseException) -> str:
    return f"{described(error)}{extras.advice(error)}"[:_MESSAGE_CHARACTERS]


def too_long(sample_timeout: float) -> str:
    """The message of a sample that was not done in time."""
    return f"took longer than sample_timeout ({sample_timeout:g} s)"


def print_traceback(sample: Callable[[], str], stage: SampleFailureKind, error: BaseException) -> None:
    """Puts the traceback of a sample that failed for good into the log, for the first few of them.

    ``sample`` says which one it is, if that is asked.
    """
    global _printed
    _printed += 1
    if _printed <= _TRACEBACKS:
        more = "further tracebacks of this process are not printed\n" if _printed == _TRACEBACKS else ""
        text = traceback_text(error)
        say(f"sample {sample()} failed ({stage}):\n{text}{more}".removesuffix("\n"), ERR)


def know_loss(message: str) -> None:
    """The process before this one was lost for that."""
    global _lost_for
    _lost_for = message


def is_known(message: str) -> bool:
    """Whether the process before this one was lost for the same, with its traceback in the log; then a line tells it."""
    if not _lost_for or message != _lost_for:
        return False
    say(f"{message} (the same as before)", ERR)
    return True


def tell_loss(message: str, error: BaseException) -> None:
    """What a process is lost for: its traceback, or that it is as before."""
    if not is_known(message):
        say(traceback_text(error).rstrip(), ERR)


def traceback_text(error: BaseException) -> str:
    """From the user's code on, as Python prints it, which survives an exception without words, but not odd fields of one."""
    try:
        return "".join(traceback.format_exception(type(error), error, own_frames(error)))
    except Exception as problem:
        return f"{described(error)} (its traceback cannot be told: {described(problem)})\n"


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
        self._kernel_kills = KernelKills()
        self._by_sample = takes_samples(type(job))
        is_default = getattr(job.collate, "__func__", None) is Job.collate
        self._collate: Callable[[list[Any]], Any] = partial(stack, join=join) if is_default else job.collate
        if self._by_sample:
            self._collate = Items
        self._load_piece = self._load_rows
        if inspect.iscoroutinefunction(job.load):
            # asyncio takes a while to import, and few Jobs need it.
            from jobs.node.worker.async_loads import AsyncLoads, TookTooLong

            self._load_all = AsyncLoads(job.load, beacon, sample_timeout)
            self._took_too_long = TookTooLong
            self._load_piece = self._load_concurrently

    def load(self, piece: Piece, place: Callable[[int, Any], Any] = lambda slot, batch: batch) -> Loaded:
        """Loads and collates; never raises for what the Job or a sample raises. The beacon is idle again when it returns."""
        began = time.monotonic()
        self._kernel_kills.tick()
        seed_generators(self._seed, piece.start)
        rows: Sequence[int]
        try:
            unreadable = self._unreadable(piece)
        except MemoryError as problem:
            rows = [row for row in range(piece.start, piece.stop) if row not in piece.skip]
            failure = failed_piece(self._backend, rows, SampleFailureKind.LOAD, problem) if rows else None
            return Loaded(piece, rows, None, (), failure)
        skip = piece.skip.union(sample.row for sample in unreadable) if unreadable else piece.skip
        items, failed, error = self._load_piece(piece, skip)
        end_twin()
        failed += unreadable
        rows = range(piece.start, piece.stop)
        if missing := piece.skip.union(sample.row for sample in failed):
            rows = tuple(row for row in rows if row not in missing)
        batch = None
        if items:
            self._beacon.at(piece.start, piece.stop)
            try:
                collated = self._collate(items)
                end_twin()
                batch = place(piece.slot, collated)
            except BaseException as problem:
                end_twin(problem)
                self._kernel_kills.follow(problem)
                error = failed_piece(self._backend, rows, SampleFailureKind.LOAD, problem)
        self._beacon.idle()
        return Loaded(piece, rows, batch, tuple(failed), error, time.monotonic() - began)

    def _unreadable(self, piece: Piece) -> list[FailedSample]:
        """Samples of the piece that cannot be had at all."""
        return [
            self._backend.failed(row, SampleFailureKind.LOAD, problem)
            for row, problem in self._samples.unreadable(piece.start, piece.stop).items()
            if row not in piece.skip
        ]

    def _load_rows(self, piece: Piece, skip: frozenset[int]) -> _Items:
        items: list[Any] = []
        failed: list[FailedSample] = []
        load = self._job.load
        words, at = self._beacon.one_by_one()
        for row, sample in self._wanted(piece, skip):
            words[at] = row
            if self._by_sample:  # which rows make a piece is chance
                seed_generators(self._seed, row)
            try:
                items.append(load(sample))
            except BaseException as problem:
                end_twin(problem)
                self._kernel_kills.follow(problem)
                if items and is_out_of_memory(problem):  # perhaps not its own fault: the process tries halves
                    return [], failed, failed_sample(row, SampleFailureKind.LOAD, problem)
                failed.append(self._backend.failed(row, SampleFailureKind.LOAD, problem))
        return items, failed, None

    def _wanted(self, piece: Piece, skip: frozenset[int]) -> Iterable[tuple[int, Any]]:
        if skip.issuperset(range(piece.start, piece.stop)):
            return []
        numbered = enumerate(self._samples.rows(piece.start, piece.stop), piece.start)
        return [(row, sample) for row, sample in numbered if row not in skip] if skip else numbered

    def _load_concurrently(self, piece: Piece, skip: frozenset[int]) -> _Items:
        """The same for an async load, whose samples share the memory: which of them was one too many is not known."""
        samples = dict(self._wanted(piece, skip))
        items: list[Any] = []
        failed: list[FailedSample] = []
        short: list[tuple[int, BaseException]] = []
        for row, (item, problem) in zip(samples, self._load_all(samples), strict=True):
            if problem is None:
                items.append(item)
                continue
            self._kernel_kills.follow(problem)
            if isinstance(problem, self._took_too_long):
                failed.append(FailedSample(row, SampleFailureKind.SAMPLE_TIMEOUT, too_long(self._sample_timeout)))
            elif is_out_of_memory(problem) and len(samples) > 1:
                short.append((row, problem))
            else:
                failed.append(self._backend.failed(row, SampleFailureKind.LOAD, problem))
        if short:
            return [], failed, failed_sample(short[0][0], SampleFailureKind.LOAD, short[0][1])
        return items, failed, None
