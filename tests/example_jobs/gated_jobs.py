"""Two stages: Gated stores the first OPEN rows at once, the others once there is a file ``go``; Take takes what it stores.

Both look for their files where their config is.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs import Job

OPEN = 24


class Gated(Job):
    """y = 2 x; samples whose x stands in the file ``bad`` fail."""

    def load(self, sample: Any) -> int:
        x = int(sample["x"])
        if Path("bad").exists() and x in map(int, Path("bad").read_text().split()):
            raise ValueError("bad")
        while x >= OPEN and not Path("go").exists():
            time.sleep(0.01)
        return x

    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return {"y": 2 * np.asarray(batch)}


class Take(Job):
    """z = y + 1."""

    def load(self, sample: Any) -> int:
        assert int(sample["x"]) * 2 == sample["y"]
        return int(sample["y"])

    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return {"z": np.asarray(batch) + 1}
