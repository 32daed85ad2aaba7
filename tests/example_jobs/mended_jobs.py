"""A Job for tests whose fault can be mended between two attempts."""

from pathlib import Path
from typing import Any

import numpy as np

from jobs.job import Job
from jobs.storage.samples import Sample


class FailsUntil(Job):
    """Cannot load its first sample until the file ``marker`` exists."""

    def __init__(self, marker: str) -> None:
        self.marker = Path(marker)

    def load(self, sample: Sample) -> np.ndarray:
        if sample.index == 0 and not self.marker.exists():
            raise ValueError("not there yet")
        return np.full(4, float(sample["x"]))

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"y": batch * 2}
