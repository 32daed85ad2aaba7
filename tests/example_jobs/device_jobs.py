"""Jobs whose device misbehaves as a GPU does, in torch's words, so that no GPU is needed; results are Toy's."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Context
from tests.example_jobs.toy_jobs import Toy


class OutOfMemoryError(RuntimeError):
    """Named as torch's: it is told by its name."""


class SmallDevice(Toy):
    """Its device holds ``most`` samples at a time; how many it was given at each try goes to the file ``tries``."""

    def __init__(self, most: int, tries: str) -> None:
        super().__init__()
        self.most = most
        self.tries = tries

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        with open(self.tries, "a") as file:
            file.write(f"{len(batch)}\n")
        if len(batch) > self.most:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().process(batch)


class LosesDevice(Toy):
    """The device of ``process`` is lost ``times`` times, at the first batch each; ``gone``: and does not come back."""

    def __init__(self, process: int, folder: str, times: int = 1, gone: bool = False) -> None:
        super().__init__()
        self.victim = process
        self.folder = Path(folder)
        self.times = times
        self.gone = gone

    def _losses(self) -> int:
        return len(list(self.folder.glob("lost-*")))

    def setup(self, context: Context) -> None:
        self.is_victim = context.process_index == self.victim
        if self.is_victim and self.gone and self._losses() >= self.times:
            raise RuntimeError("CUDA error: no CUDA-capable device is detected")

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if self.is_victim and self._losses() < self.times:
            (self.folder / f"lost-{os.getpid()}").touch()
            raise RuntimeError("CUDA error: unspecified launch failure")
        time.sleep(0.02)
        return super().process(batch)


class PoisonedSample(Toy):
    """A row makes a kernel fail, after which the process's CUDA context is of no more use."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row = row
        self.is_lost = False

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        self.is_lost |= bool((batch[:, 0] == self.row).any())
        if self.is_lost:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return super().process(batch)
