"""mean_of_windows: what is long has the mean of its windows, what is short its own vector."""

import numpy as np
import torch

from jobs.embedding.windows import mean_of_windows


def test_windows_count_by_their_sizes_and_what_is_nan_stays_with_its_sample() -> None:
    vectors = torch.tensor([[1.0, 2.0], [3.0, 6.0], [float("nan"), float("inf")], [0.1, 0.7]])
    found = mean_of_windows(vectors, np.array([30, 10, 5, 7]), np.array([2, 1, 1]))
    assert found[0].tolist() == [1.5, 3.0]
    assert found[1].isfinite().tolist() == [False, False]
    assert torch.equal(found[2], vectors[3])
