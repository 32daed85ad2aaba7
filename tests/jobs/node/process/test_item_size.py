"""What a loaded item takes, as far as it can be seen."""

from typing import Any

import numpy as np
import pytest

from jobs.node.process.item_size import item_size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("four", 4),
        (np.zeros(1000), 8000),
        ({"x": np.zeros(10, np.float32), "text": "abc"}, 43),
        ([1.0] * 100, 3200),
        (([], [b"ab", b"c"]), 3),
    ],
)
def test_an_item_counts_by_the_bytes_of_what_is_in_it(value: Any, size: int) -> None:
    assert item_size(value) == size
