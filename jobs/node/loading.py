"""Loader: manifest rows -> items -> batch, with the Job's load and collate; one bad sample fails alone.

Used by pool workers, and by processes that load their own samples.
"""

import random
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from jobs.job import Job
from jobs.node.beacon import Beacon
from jobs.node.messages import Broken, Loaded, Piece
from jobs.storage.records import FailedSample
from jobs.storage.samples import Samples

_MESSAGE_CHARACTERS = 500
# Tracebacks that one child prints into the log: the journal has every failed sample, the log need not.
_TRACEBACKS = 20
_printed = 0


def failed_sample(row: int, stage: str, error: BaseException) -> FailedSample:
    """The record of a sample that raised; ``stage`` is LOAD or PROCESS, and lack of memory has its own kind."""
    kind = "OUT_OF_MEMORY" if is_out_of_memory(error) else stage
    return FailedSample(row, kind, describe(error))


def is_out_of_memory(error: BaseException) -> bool:
    """True for lack of the host's memory, and of a device's (torch's error told by name: torch may not be loaded)."""
    return _is_out_of_host_memory(error) or type(error).__name__ == "OutOfMemoryError"


def _is_out_of_host_memory(error: BaseException) -> bool:
    """Python's MemoryError and numpy's, and what torch says."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def broken(stage: str, error: BaseException) -> Broken:
    """What a child says that could not be set up; of lack of memory only the host's: more of it may be had."""
    kind = "OUT_OF_MEMORY" if _is_out_of_host_memory(error) else "ERROR"
    return Broken(kind, f"{stage}: {describe(error)}")


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_MESSAGE_CHARACTERS]


def print_traceback(row: int, stage: str, error: BaseException) -> None:
    """Puts the traceback of a sample that failed for good into the log, for the first few of them."""
    global _printed
    _printed += 1
    if _printed <= _TRACEBACKS:
        text = "".join(traceback.format_exception(error))
        more = "further tracebacks of this process are not printed\n" if _printed == _TRACEBACKS else ""
        print(f"sample {row} failed ({stage}):\n{text}{more}", end="", file=sys.stderr, flush=True)


def seed_generators(seed: int, row: int) -> None:
    """Seeds Python's, numpy's and (where it is loaded) torch's generators, so that random Jobs are repeatable."""
    value = hash((seed, row)) & 0xFFFFFFFF
    random.seed(value)
    np.random.seed(value)
    torch = sys.modules.get("torch")
    if torch:
        # torch.manual_seed formats a stack trace at each call, which is 100 times slower.
        torch.default_generator.manual_seed(value)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(value)


class Loader:
    """Loads pieces; ``place`` puts a collated batch where its process will see it."""

    def __init__(self, job: Job, samples: Samples, beacon: Beacon, seed: int) -> None:
        self._job = job
        self._samples = samples
        self._beacon = beacon
        self._seed = seed

    def load(self, piece: Piece, place: Callable[[int, Any], Any] = lambda slot, batch: batch) -> Loaded:
        """Loads and collates; never raises for what the Job raises. The beacon is idle again when it returns."""
        seed_generators(self._seed, piece.start)
        rows, items, failed, error = self._load_rows(piece)
        batch = None
        if items:
            self._beacon.at(piece.start, piece.stop)
            try:
                batch = place(piece.slot, self._job.collate(items))
            except (Exception, SystemExit) as problem:
                error = failed_sample(rows[0], "LOAD", problem)
                if len(rows) == 1:
                    print_traceback(rows[0], "LOAD", problem)
        self._beacon.idle()
        return Loaded(piece, tuple(rows), batch, tuple(failed), error)

    def _load_rows(self, piece: Piece) -> tuple[list[int], list[Any], list[FailedSample], FailedSample | None]:
        """(rows, their items, samples that failed, None); or (rows, [], failed, why they do not fit into memory together)."""
        rows: list[int] = []
        items: list[Any] = []
        failed: list[FailedSample] = []
        load, at, skip = self._job.load, self._beacon.at, piece.skip
        for sample in self._samples.rows(piece.start, piece.stop):
            row = sample.index
            if row in skip:
                continue
            at(row, row + 1)
            try:
                items.append(load(sample))
                rows.append(row)
            except (Exception, SystemExit) as problem:
                if items and is_out_of_memory(problem):  # perhaps not its own fault: the process tries halves
                    rest = [other for other in range(row, piece.stop) if other not in skip]
                    return rows + rest, [], failed, failed_sample(row, "LOAD", problem)
                failed.append(failed_sample(row, "LOAD", problem))
                print_traceback(row, "LOAD", problem)
        return rows, items, failed, None
