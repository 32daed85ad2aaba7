"""Blocks: samples of 600 KB that cost nothing to make and next to nothing to use, so that what counts is moving them.

The work of node_moving.py.
"""

from pathlib import Path

import numpy as np

BYTES = 602_112
_SHAPE = (3, 224, 224)
_PAGE = 1024
# 73 MB, more than caches hold: plain copying within a cache is several times faster, and no design moves samples there.
# A prime: batches differ from their neighbours.
_DISTINCT = 127


class Blocks:
    """Row numbers -> float32 [3, 224, 224] -> float32 [1]: the mean of one value of each page, so that all are touched."""

    batch_size = 16
    modules: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._blocks = [np.full(_SHAPE, number, np.float32) for number in range(_DISTINCT)]

    def load(self, source: int) -> np.ndarray:
        return self._blocks[source % _DISTINCT]

    def setup(self, process: int) -> None:
        pass

    def process(self, batch: np.ndarray) -> np.ndarray:
        pages: np.ndarray = batch.reshape(len(batch), -1)[:, ::_PAGE]
        means: np.ndarray = pages.mean(axis=1, keepdims=True)
        return means
