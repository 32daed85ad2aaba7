"""Jobs over samples in tars."""

from typing import Any

import numpy as np

from jobs import Job, Sample


class Lengths(Job):
    """How many bytes a sample's file .bin has, and the sum of them."""

    def load(self, sample: Sample) -> np.ndarray:
        data = np.frombuffer(sample["bin"], np.uint8)
        return np.array([len(data), data.sum(dtype=np.int64)])

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"length": batch[:, 0], "sum": batch[:, 1]}
