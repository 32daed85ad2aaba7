"""A Job for tests that says where and on what it ran; it uses no GPU, so that those of the test cluster do."""

import os
import time
from typing import Any, ClassVar

import numpy as np

from jobs.job import Context, Job


class Placed(Job):
    """For each sample: x, the pid of its process, how often that was set up, device, node, GPUs shown and task rank.

    ``delay`` is the seconds that a batch takes, so that all processes of a task get some.
    """

    setups: ClassVar[int] = 0

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    def setup(self, context: Context) -> None:
        type(self).setups += 1
        self.device = context.device

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self.delay)
        rows = len(batch["x"])
        return {
            "x": np.asarray(batch["x"], np.int64),
            "pid": np.full(rows, os.getpid()),
            "setups": np.full(rows, self.setups),
            "device": [self.device] * rows,
            "node": [os.environ.get("SLURMD_NODENAME", "")] * rows,
            "visible": [os.environ.get("CUDA_VISIBLE_DEVICES", "none")] * rows,
            "rank": [os.environ.get("SLURM_PROCID", "")] * rows,
        }


class Variables(Job):
    """For each sample: the values that variables of the environment have in its process, with a blank between."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        values = " ".join(os.environ.get(name, "none") for name in self.names)
        return {"values": [values] * len(batch["x"])}
