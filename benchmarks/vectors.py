"""Vectors: samples so small that only what it costs to move them counts. Works of several parts of node.py."""

import time
from pathlib import Path

import numpy as np

_WIDTH = 16
# A prime: no two batches under way hold the same vectors, and the memory does not grow with the samples.
_DISTINCT = 9973
FAST_SECONDS = 0.001
SLOWER = 4
"""How many times slower the slow device is."""


class Vectors:
    """Row numbers -> float32 [16] -> float32 [16]."""

    batch_size = 1000
    modules: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._vectors = np.random.default_rng(0).random((_DISTINCT, _WIDTH), np.float32)

    def load(self, source: int) -> np.ndarray:
        row: np.ndarray = self._vectors[source % _DISTINCT]
        return row

    def setup(self, process: int) -> None:
        Vectors.process(self, np.zeros((1, _WIDTH), np.float32))

    def process(self, batch: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.sqrt(batch + 1)
        return result


class UnequalDevices(Vectors):
    """The same, where each process waits for its device, and that of process 1 is SLOWER times slower."""

    batch_size = 8

    def setup(self, process: int) -> None:
        super().setup(process)
        self._seconds = FAST_SECONDS * (SLOWER if process == 1 else 1)

    def process(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self._seconds * len(batch))
        return super().process(batch)


class SlowDevice(UnequalDevices):
    """The slow one of the two, in whichever process."""

    def setup(self, process: int) -> None:
        super().setup(1)


class TorchVectors(Vectors):
    """The same, one by one, by processes that need torch."""

    batch_size = 1
    modules = ("torch",)

    def setup(self, process: int) -> None:
        import torch

        super().setup(process)
        torch.zeros(1)
