"""Jobs of runs that come after each other: the second and third compute from outputs of the one before."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Context, Job
from jobs.storage.samples import Sample


class Fetch(Job):
    """What a download would bring: a text for each ``x``. ``bad`` rows fail; it waits for ``gate``, a file."""

    def __init__(self, bad: Sequence[int] = (), gate: str | None = None) -> None:
        self.bad = bad
        self.gate = gate

    def load(self, sample: Sample) -> int:
        while self.gate and not Path(self.gate).exists():
            time.sleep(0.02)
        if sample["x"] in self.bad:
            raise ValueError("not found")
        return int(sample["x"])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"text": [f"{x} " * (x % 4) for x in batch.tolist()]}


class Embed(Job):
    """A vector of each text: how long it is, and x. ``broken``: a file; while it is there nothing can be set up."""

    def __init__(self, broken: str | None = None) -> None:
        self.broken = broken

    def setup(self, context: Context) -> None:
        if self.broken and Path(self.broken).exists():
            raise RuntimeError("no such model")

    def load(self, sample: Sample) -> np.ndarray:
        return np.array([len(sample["text"]), sample["x"]], np.float32)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"vector": batch}


class Index(Job):
    """The sum of each vector, and of all."""

    def load(self, sample: Sample) -> np.ndarray:
        return np.asarray(sample["vector"])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"sum": batch.sum(axis=1)}
