"""Work: what ours and every peer compute in a benchmark, and the Job that hands it to ours.

A work has a load for each of its sources, which are row numbers (what a manifest holds), and a process for a batch.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from benchmarks.gate import Gate
from jobs.job import Context, Job
from jobs.storage.samples import Sample


class Work(Protocol):
    """Made from the folder that holds its data, in each process; cheap to make."""

    batch_size: int
    modules: tuple[str, ...]
    """Imported once before anything is forked, by whoever forks."""

    def load(self, source: int) -> np.ndarray:
        """One sample."""

    def setup(self, process: int) -> None:
        """Before the first ``process`` of the process of this number: the model, warmed up."""

    def process(self, batch: np.ndarray) -> np.ndarray:
        """A batch of stacked samples -> one row of results each."""


@dataclass(frozen=True)
class Case:
    """What is computed: ``count`` samples of a work (``module:Class``) over the data in ``folder``."""

    work: str
    folder: Path
    count: int

    def make(self) -> Work:
        module, _, name = self.work.partition(":")
        work: Work = getattr(importlib.import_module(module), name)(self.folder)
        return work


class WorkJob(Job):
    """A work as a Job: ``gate`` is the folder of the start line, ``members`` how many processes start there."""

    def __init__(self, work: str, folder: str, gate: str, members: int) -> None:
        self._work = Case(work, Path(folder), 0).make()
        self._gate = Gate(Path(gate), members)

    def setup_worker(self, context: Context) -> None:
        if context.worker_index is not None:
            self._gate.wait()

    def load(self, sample: Sample) -> np.ndarray:
        return self._work.load(sample["source"])

    def setup(self, context: Context) -> None:
        self._work.setup(context.process_index)
        self._gate.wait()

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"result": self._work.process(batch)}


class TorchJob(WorkJob):
    """A work that needs torch."""

    preload: ClassVar[tuple[str, ...]] = ("torch",)
