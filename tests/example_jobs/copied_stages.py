"""Stages of which the first stores which submission of it has done a row, and those after it copy that."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs import Job


def submission() -> int:
    """The number of the one that this process works for."""
    words = Path("/proc/self/cmdline").read_text().split(chr(0))
    return int(words[words.index("jobs") + 2])


class First(Job):
    """Some samples fail until there is a file ``mended`` where its config is."""

    def load(self, sample: Any) -> int:
        if sample.index % 11 == 3 and not Path("mended").exists():
            raise ValueError("bad")
        return int(sample["x"])

    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(0.03)
        return {"by": np.full(len(batch), submission()), "x": np.asarray(batch)}


class Next(Job):
    """``by2``: its own submission; ``seen``: what that was in the stage before it, if that is one of these."""

    def load(self, sample: Any) -> np.ndarray:
        assert int(sample["x"]) == sample.index, "torn"
        assert sample["by"] > 0, "torn"
        return np.array([sample["by"], sample.get("by2", 0)])

    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(0.01)
        batch = np.asarray(batch)
        return {"by": batch[:, 0], "by2": np.full(len(batch), submission()), "seen": batch[:, 1]}
