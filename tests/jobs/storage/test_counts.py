"""Sums of the outputs that a Job counts."""

from typing import Any

import numpy as np

from jobs.storage import counts
from jobs.storage.outputs import to_columns

NAMES = ("n", "score", "tokens", "text", "flag", "none")


def columns() -> Any:
    outputs = {
        "n": np.array([1, 2, 4], np.int32),
        "score": np.array([0.5, np.nan, 1.0]),
        "tokens": [np.array(one, np.int64) for one in ([1, 2], [], [3])],
        "text": ["a", "b", "c"],
        "flag": np.array([True, False, True]),
        "other": np.ones(3),
    }
    return to_columns(outputs, 3)


def test_numbers_are_summed_and_lists_counted() -> None:
    assert dict(counts.of_batch(columns(), NAMES)) == {"n": 7, "score": 1.5, "tokens": 3, "flag": 2}


def test_each_row_has_its_own() -> None:
    found = list(map(dict, counts.of_rows(columns(), NAMES)))
    assert found[0] == {"n": 1, "score": 0.5, "tokens": 2, "flag": 1}
    assert found[1] == {"n": 2, "score": 0.0, "tokens": 0, "flag": 0}
    assert counts.of_rows(columns(), ("none",)) == [(), (), ()]
    assert counts.of_batch({}, NAMES) == ()
