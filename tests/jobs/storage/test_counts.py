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


def test_large_numbers_are_summed_exactly_and_what_has_no_sum_is_left_out() -> None:
    outputs = {
        "signed": np.array([[2**62, 2**62], [2**62, -5], [-(2**63), 1]]),
        "unsigned": np.array([2**64 - 1, 2**64 - 2, 1], np.uint64),
        "infinite": np.array([1.0, np.inf, 2.0]),
    }
    found = to_columns(outputs, 3)
    rows = {"signed": [2**63, 2**62 - 5, 1 - 2**63], "unsigned": [2**64 - 1, 2**64 - 2, 1]}
    each: list[dict[str, float]] = [{name: numbers[row] for name, numbers in rows.items()} for row in range(3)]
    each[0]["infinite"], each[2]["infinite"] = 1.0, 2.0
    assert list(map(dict, counts.of_rows(found, tuple(outputs)))) == each
    assert dict(counts.of_batch(found, tuple(outputs))) == {name: sum(numbers) for name, numbers in rows.items()}
