"""A Job whose module asks for CUDA when it is imported, as many do."""

from typing import Any

import numpy as np
import torch

from jobs.job import Context, Job
from jobs.storage.samples import Sample

IS_AVAILABLE = torch.cuda.is_available()


class Doubles(Job):
    """The column ``x``, doubled on the device."""

    def setup(self, context: Context) -> None:
        self.device = torch.device(context.device)

    def load(self, sample: Sample) -> torch.Tensor:
        return torch.tensor(float(sample["x"]))

    def process(self, batch: torch.Tensor) -> dict[str, Any]:
        return {"y": (2 * batch.to(self.device)).cpu(), "cuda": np.full(len(batch), IS_AVAILABLE)}
