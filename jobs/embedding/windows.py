"""Windows of a long text or sound: the vector of the whole is the mean of theirs, each counting by how much is in it."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def mean_of_windows(vectors: "torch.Tensor", sizes: np.ndarray, n_windows: np.ndarray) -> "torch.Tensor":
    """Vectors [samples, d] of those of all windows [windows, d], of ``sizes`` tokens or frames; ``n_windows`` of each sample.

    A product for each sample: it sums in the same order each time, and what is NaN in one is not in the others.
    """
    import torch

    weights = torch.from_numpy(sizes.astype(np.float32)).to(vectors.device)
    of_samples = zip(*(values.split_with_sizes(n_windows.tolist()) for values in (weights, vectors)), strict=True)
    return torch.stack([(own / own.sum()) @ windows for own, windows in of_samples])
