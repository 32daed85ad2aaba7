"""Trivial work for slurm.py: a Job that does next to nothing, so that what is left is the cost of an array task."""

from typing import Any

import numpy as np

from jobs.job import Job


class Square(Job):
    """Squares the column ``x``."""

    def process(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        return {"square": np.asarray(batch["x"]) ** 2}
