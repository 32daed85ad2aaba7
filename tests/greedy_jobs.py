"""Jobs for tests under limits: they take the memory or the time that they are told to, and give the results of Toy."""

import mmap
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Context
from jobs.storage.samples import Sample
from tests.toy_jobs import Toy

_MEGABYTE = 1 << 20


def _take(megabytes: int) -> mmap.mmap:
    """Shared memory, which no limit on a process's own data stops: only the kernel's OOM killer does."""
    memory = mmap.mmap(-1, max(megabytes, 1) * _MEGABYTE)
    for _ in range(megabytes):
        memory.write(b"\1" * _MEGABYTE)
    return memory


class Hungry(Toy):
    """Takes megabytes in its setup, and while it is at the manifest rows named in ``load`` and ``process``.

    ``process`` takes as much for each sample of the batch.
    """

    def __init__(
        self, setup: int = 0, load: dict[str, int] | None = None, process: dict[str, int] | None = None
    ) -> None:
        super().__init__()
        self.at_setup = setup
        self.at_load = load or {}
        self.at_process = process or {}

    def setup(self, context: Context) -> None:
        self.held = _take(self.at_setup)

    def load(self, sample: Sample) -> np.ndarray:
        with _take(self.at_load.get(str(sample.index), 0)):
            return super().load(sample)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        each = max(self.at_process.get(str(int(row)), 0) for row in batch[:, 0])
        with _take(each * len(batch)):
            return super().process(batch)


class Slow(Toy):
    """Takes ``delay`` seconds for each sample of the rows ``only``, and for ever for those in ``stuck``.

    So it does at the first start that Slurm makes; at others it is quick.
    """

    def __init__(self, delay: float = 0.0, only: tuple[int, int] = (0, 1 << 30), stuck: tuple[int, ...] = ()) -> None:
        super().__init__()
        is_first = os.environ.get("SLURM_JOB_NAME", "").endswith(".1") and "SLURM_RESTART_COUNT" not in os.environ
        self.seconds = delay if is_first else 0.0
        self.slow_rows = range(*only)
        self.stuck = stuck if is_first else ()

    def load(self, sample: Sample) -> np.ndarray:
        if sample.index in self.stuck:
            time.sleep(1e6)
        if sample.index in self.slow_rows:
            time.sleep(self.seconds)
        return super().load(sample)


class SlowAndBroken(Slow):
    """Cannot load its first sample until the file ``marker`` exists."""

    def __init__(self, marker: str, **slow: Any) -> None:
        super().__init__(**slow)
        self.marker = Path(marker)

    def load(self, sample: Sample) -> np.ndarray:
        if sample.index == 0 and not self.marker.exists():
            raise ValueError("not there yet")
        return super().load(sample)
