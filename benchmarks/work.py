"""Work: what ours and every peer compute in a benchmark, and the Job that hands it to ours.

A work is a list of sources (what a manifest holds), a load for each, and a process for a batch.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from benchmarks.gate import Gate
from jobs.job import Context, Job
from jobs.storage.samples import Sample


class Work(Protocol):
    """Made from the folder that holds its data, in each process; cheap to make."""

    batch_size: int
    sources: Sequence[Any]
    modules: tuple[str, ...]
    """Imported once before anything is forked, by whoever forks."""

    def load(self, source: Any) -> np.ndarray:
        """One sample."""

    def setup(self) -> None:
        """Before the first ``process``: the model, warmed up."""

    def process(self, batch: np.ndarray) -> np.ndarray:
        """A batch of stacked samples -> one row of results each."""


def make_work(path: str, folder: Path) -> Work:
    """The work of a path ``module:Class`` below this package, over the data in ``folder``."""
    module, _, name = path.partition(":")
    work: Work = getattr(importlib.import_module(module), name)(folder)
    return work


class WorkJob(Job):
    """A work as a Job: ``gate`` is the folder of the start line, ``members`` how many processes start there."""

    def __init__(self, work: str, folder: str, gate: str, members: int) -> None:
        self._work = make_work(work, Path(folder))
        self._gate = Gate(Path(gate), members)

    def setup_worker(self, context: Context) -> None:
        if context.worker_index is not None:
            self._gate.wait()

    def load(self, sample: Sample) -> np.ndarray:
        return self._work.load(sample["source"])

    def setup(self, context: Context) -> None:
        self._work.setup()
        self._gate.wait()

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"result": self._work.process(batch)}


class TorchJob(WorkJob):
    """A work that needs torch."""

    preload: ClassVar[tuple[str, ...]] = ("torch",)
