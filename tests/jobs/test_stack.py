"""What the default collate makes of items: every value as it was, or a refusal, after which the samples are done one by one."""

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.job import stack
from jobs.pickles import pack
from jobs.stacked import Stacked, stack_arrays, stack_now

Pair = namedtuple("Pair", "first second")
joins = st.sampled_from([stack_arrays, stack_now])
scalars = (
    st.integers(-(2**64), 2**65)
    | st.sampled_from([2**53 + 1, 2**63 + 1, -(2**53) - 1])
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.complex_numbers(allow_nan=False)
    | st.text(max_size=3)
    | st.none()
)


@given(items=st.lists(scalars, min_size=1, max_size=4), join=joins)
@example(items=[1, 2**63 + 1], join=stack_arrays)
@example(items=[0.5, 2**53 + 1], join=stack_arrays)
@example(items=[1, "n/a"], join=stack_arrays)
def test_scalars_keep_their_values_beside_any_others(items: list[Any], join: Any) -> None:
    try:
        stacked = stack(items, join)
    except ValueError:
        assert len(items) > 1
        return
    assert list(stacked) == items


@pytest.mark.parametrize("join", [stack_arrays, Stacked.of])
def test_arrays_that_no_dtype_holds_together_are_refused(join: Any) -> None:
    large, negative, text = np.array([2**63 + 1], np.uint64), np.array([-1]), np.array(["a"])
    for other in (large, text):
        with pytest.raises(ValueError, match=r"round|in common"):
            stack([negative, other], join)
    assert stack([negative, np.array([7], np.uint64)], join).tolist() == [[-1], [7]]


@pytest.mark.parametrize("join", [stack_arrays, Stacked.of])
def test_dates_of_several_units_are_the_same_ones_or_refused(join: Any) -> None:
    """In nanoseconds the year 3000 would be 1830."""
    fine, near, far = np.array(["2020-01-01"], "M8[ns]"), np.array(["2262-01-01"], "M8[D]"), np.array(["3000"], "M8[Y]")
    assert stack([fine, near, np.array(["NaT"], "M8[s]")], join)[1] == near
    for items in ([far, fine], [far[0], fine[0]]):
        with pytest.raises(ValueError, match="does not reach as far"):
            stack(items, join)


@pytest.mark.parametrize("join", [stack_arrays, Stacked.of])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((2**60 + 1, "i8"), (0.5, "f8")),
        ((2**63, "u8"), (-1, "i8")),
        ((1, "i8"), ("a", "U1")),
        ((3000, "M8[Y]"), (1, "M8[ns]")),
    ],
)
def test_fields_of_structured_arrays_keep_their_values_too(join: Any, one: Any, other: Any) -> None:
    """Of each field numpy takes a dtype that has both, at any depth."""
    flat = [np.array([(value,)], [("x", kind)]) for value, kind in (one, other)]
    deep = [np.array([(7, (value,))], [("a", "i4"), ("s", [("x", kind)])]) for value, kind in (one, other)]
    for items in (flat, deep, [item[0] for item in flat]):
        with pytest.raises(ValueError, match=r"round|in common|reach as far"):
            stack(items, join)
    assert stack([np.array((1,), [("x", "i8")]), np.array((0.5,), [("x", "f8")])], join)["x"].tolist() == [1, 0.5]


def test_whole_numbers_in_tensors_beside_floats_are_exact_or_refused() -> None:
    torch = pytest.importorskip("torch")
    half, floats = torch.tensor([0.5], dtype=torch.float16), torch.tensor([0.5])
    assert stack([torch.tensor([2**24]), floats]).tolist() == [[2**24], [0.5]]
    for number, other in ((2**24 + 1, floats), (70_000, half)):
        with pytest.raises(ValueError, match="rounds whole numbers"):
            stack([torch.tensor([number]), other])


def test_a_named_tuple_keeps_its_names() -> None:
    stacked = stack([Pair(np.zeros(2), "a"), Pair(np.ones(2), "b")])
    assert isinstance(stacked, Pair)
    assert stacked.first.tolist() == [[0, 0], [1, 1]]
    assert stacked.second == ["a", "b"]


@pytest.mark.filterwarnings("ignore:.*(prototype|beta).*")
@pytest.mark.parametrize("kind", ["csr", "nested", "jagged"])
def test_tensors_that_torch_does_not_stack_are_a_list_and_reach_the_process(kind: str) -> None:
    torch = pytest.importorskip("torch")
    make: Any = {
        "csr": lambda n: torch.eye(2).mul(n).to_sparse_csr(),
        "nested": lambda n: torch.nested.nested_tensor([torch.full((n + 1,), 1.0 * n), torch.ones(1)]),
        "jagged": lambda n: torch.nested.nested_tensor([torch.full((2,), 1.0 * n), torch.ones(1)], layout=torch.jagged),
    }[kind]
    parts = torch.Tensor.to_dense if kind == "csr" else torch.Tensor.unbind
    stacked = stack([make(0), make(1)])
    assert isinstance(stacked, list)
    for number, tensor in enumerate(pack(stacked).load()):
        assert all(map(torch.equal, parts(tensor), parts(make(number))))
