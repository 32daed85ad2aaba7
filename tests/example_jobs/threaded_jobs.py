"""Jobs that compute with the libraries' own threads: torch's OpenMP and numpy's OpenBLAS."""

from typing import Any, ClassVar

import numpy as np

from jobs.job import Context, Job
from jobs.storage.samples import Sample


class MatrixProducts(Job):
    """Multiplies matrices with torch in the process and with numpy in the workers."""

    preload: ClassVar[tuple[str, ...]] = ("torch",)

    def load(self, sample: Sample) -> np.ndarray:
        matrix = np.full((160, 160), float(sample["x"] % 7), np.float32)
        return matrix @ matrix

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        import torch

        tensor = torch.from_numpy(batch)
        for _ in range(4):
            tensor = torch.tanh(tensor @ tensor)
        return {"sum": tensor.sum(dim=(1, 2))}


class OwnThreads(Job):
    """Sets torch's threads itself, and insists that they stay as it said."""

    preload: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, context: Context) -> None:
        import torch

        torch.set_num_threads(self.count)

    def process(self, batch: Any) -> dict[str, Any]:
        import torch

        if torch.get_num_threads() != self.count:
            raise RuntimeError(f"{torch.get_num_threads()} threads")
        return {"x": batch["x"]}
