"""Vectors: samples so small that only the overhead of moving them counts. A work of benchmarks/tiny.py."""

from pathlib import Path

import numpy as np

COUNT = 100_000
_WIDTH = 16
_FILE = "vectors.npy"


def make_vectors(folder: Path) -> None:
    """COUNT vectors of 16 float32, always the same."""
    np.save(folder / _FILE, np.random.default_rng(0).random((COUNT, _WIDTH), np.float32))


class Vectors:
    """Row numbers -> float32 [16] -> float32 [16]."""

    batch_size = 1000
    modules: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        # asarray: the same mapped file, without the subclass that makes each indexing five times slower.
        self._vectors = np.asarray(np.load(folder / _FILE, mmap_mode="c"))
        self.sources = range(COUNT)

    def load(self, source: int) -> np.ndarray:
        row: np.ndarray = self._vectors[source]
        return row

    def setup(self) -> None:
        self.process(np.zeros((1, _WIDTH), np.float32))

    def process(self, batch: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.sqrt(batch + 1)
        return result
