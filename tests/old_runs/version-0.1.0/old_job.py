"""The Job of the runs beside it: planned, and half done, by version 0.1.0."""

import os
import time

import numpy as np

from jobs.job import Job


class OldJob(Job):
    """A fixed, a ragged and a text output of a number; every thirteenth sample fails."""

    def load(self, sample):
        time.sleep(float(os.environ.get("OLD_JOB_SECONDS", "0")))
        if sample["x"] % 13 == 12:
            raise ValueError(f"{sample['x']} is unlucky")
        return float(sample["x"])

    def process(self, batch):
        return {
            "half": np.stack([batch / 2, batch * 2], axis=1),
            "below": [np.arange(int(x) % 5, dtype=np.int32) for x in batch],
            "name": [f"number {x:g}" for x in batch],
        }

    def reduce(self, state, block):
        return (0.0 if state is None else state) + float(block["half"].sum())

    def finish(self, state):
        return {"sum": np.array(state)}
