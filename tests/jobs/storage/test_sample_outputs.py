"""What is stored of a sample depends on its own types alone, whichever others it is stored with."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import OutputError
from jobs.storage.outputs import Columns, check_form, forms, join, to_columns
from jobs.storage.sample_outputs import of_many_rows, of_one_row, of_sample, size_of

_VALUES = st.one_of(
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(width=32),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.lists(st.integers(-5, 5), max_size=3),
    st.lists(st.floats(width=32), max_size=3),
    st.lists(st.one_of(st.integers(-5, 5), st.floats(width=32)), max_size=3),
    st.sampled_from([np.int32(3), np.float32(2.5), np.arange(3), np.zeros((2, 2), np.float32), np.array(7)]),
)


def alone(samples: list[dict[str, Any]]) -> list[Columns] | None:
    """Each by itself; None where one of them cannot be stored, or has not the form of the others."""
    try:
        found = [to_columns(of_one_row(sample), 1) for sample in samples]
        for columns in found:
            check_form(columns, forms(found))
    except (OutputError, OverflowError):
        return None
    return found


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.lists(_VALUES, min_size=1, max_size=4), st.lists(st.integers(0, 9), min_size=1, max_size=4)))
def test_samples_stored_together_are_as_each_of_them_alone_or_are_taken_one_by_one(values: list[Any]) -> None:
    try:
        samples = [of_sample({"y": value}) for value in values]
    except OutputError:
        return
    outputs = of_many_rows(samples)
    if outputs is None:
        return
    try:
        together = to_columns(outputs, len(samples))
    except OutputError:
        return
    each = alone(samples)
    assert each is not None
    joined = join([(np.array([row]), columns) for row, columns in enumerate(each)], len(each))
    assert together["y"].form("y") == joined["y"].form("y")
    assert together["y"].data.tobytes() == joined["y"].data.tobytes()
    assert (together["y"].lengths is None) == (joined["y"].lengths is None)


@pytest.mark.parametrize("returned", [None, {}, [1], "text"])
def test_what_is_no_dict_of_outputs_is_refused(returned: object) -> None:
    with pytest.raises(OutputError, match=r"valid: a dict of output name -> value"):
        of_sample(returned)


def test_what_was_not_awaited_is_named() -> None:
    async def later() -> dict[str, Any]:
        return {"y": 1}

    for outputs, what in ((later(), "process_sample returned"), ({"y": later()}, "output 'y' is")):
        with pytest.raises(OutputError, match=f"{what} a coroutine that was not awaited; valid"):
            of_sample(outputs)
        (outputs["y"] if isinstance(outputs, dict) else outputs).close()


def test_several_texts_of_a_sample_are_refused_with_what_is_valid() -> None:
    with pytest.raises(OutputError, match=r"'tags' has dtype <U1; .*of process_sample: one of them, not a list"):
        of_sample({"tags": ["a", "b"]})


def test_an_array_is_copied_since_the_job_may_use_it_again() -> None:
    buffer = np.zeros(3)
    kept = of_sample({"y": buffer})
    buffer[:] = 1
    assert kept["y"].tolist() == [0, 0, 0]


def test_what_the_job_changes_later_is_stored_as_it_was_and_counts_by_its_bytes() -> None:
    tokens, nested, buffer = [1, 2, 3], [[1.0, 2.0], [3.0, 4.0]], np.zeros(3)
    kept = of_sample({"tokens": tokens, "nested": nested, "views": [buffer[:1], buffer[1:2]]})
    tokens.clear()
    nested[0][0] = 9.0
    buffer[:] = 1
    columns = to_columns(of_one_row(kept), 1)
    assert columns["tokens"].data.tolist() == [1, 2, 3]
    assert columns["nested"].data.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert columns["views"].data.tolist() == [[0.0], [0.0]]
    assert size_of(of_sample({"logprobs": [0.5] * 1000, "text": "four", "n": 3})) == 8000 + 4 + 8


class _Strange:
    """What raises when it is looked at."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise KeyError("no device any more")


def test_what_cannot_be_looked_at_raises_where_it_is_its_samples_own_failure() -> None:
    with pytest.raises((OutputError, KeyError)):
        of_sample({"y": _Strange()})
    with pytest.raises((OutputError, KeyError)):
        of_sample({"y": [_Strange()]})


@pytest.mark.parametrize("value", [[1, 2], [1, 2.5], [], [[1], [2]], (1, 2), [True], [np.float32(1)], range(3)])
def test_a_list_is_stored_as_process_would_have_stored_it(value: Any) -> None:
    own, as_ever = to_columns(of_one_row(of_sample({"y": value})), 1)["y"], to_columns({"y": [value]}, 1)["y"]
    assert own.form("y") == as_ever.form("y")
    assert own.data.tobytes() == as_ever.data.tobytes()
