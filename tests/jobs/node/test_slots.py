"""Slots: what a worker puts in, its process gets out, in memory that is reused and grows."""

import multiprocessing
import re
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jobs.job import stack
from jobs.node.messages import NewSlot
from jobs.node.slots import SlotReader, SlotWriter
from jobs.node.transfer import Stay
from jobs.stacked import Stacked, stack_arrays, stack_now

Pair = namedtuple("Pair", "a b")


class Derived(Pair):
    """A named tuple with a method, say."""


class Ends:
    """A writer and a reader on one pipe; counts the memories that were sent."""

    def __init__(self) -> None:
        mine, theirs = multiprocessing.Pipe()
        self.connection = theirs
        self.writer, self.reader = SlotWriter(mine), SlotReader(theirs, Stay())
        self.memories = 0

    def through(self, batch: object, slot: int = 0) -> Any:
        skeleton = self.writer.put(slot, batch)
        while self.connection.poll():
            message = self.connection.recv()
            assert isinstance(message, NewSlot)
            self.reader.accept(message)
            self.memories += 1
        return self.reader.get(slot, skeleton)


arrays = hnp.arrays(
    st.sampled_from(["u1", "<f4", "<f8", "<i8", "?", "<c8"]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)
)
batches = st.recursive(
    arrays
    | st.text()
    | st.none()
    | st.integers()
    | st.binary(min_size=5000, max_size=5001)
    | st.text("aé\ud800", min_size=5000),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=6,
)


kinds = st.sampled_from(["u1", "<f4", "?", ">i4", "M8[s]", "<U3"])
# The last is too large to be joined as bytes.
shapes = st.sampled_from([(), (3,), (0, 2), (2, 3), (40, 40)])
layouts = st.sampled_from(
    [np.ascontiguousarray, np.asfortranarray, lambda array: np.repeat(array, 2, axis=-1)[..., ::2]]
)
items = st.integers(1, 5).flatmap(
    lambda count: st.lists(
        st.builds(
            lambda array, layout: layout(array) if array.ndim else array,
            hnp.arrays(kinds, shapes),
            layouts,
        ),
        min_size=count,
        max_size=count,
    )
)


@given(items)
def test_arrays_that_are_stacked_in_the_slot_arrive_as_if_stacked_before(arrays: list[np.ndarray]) -> None:
    try:
        expected = stack_arrays(arrays)
    except (ValueError, TypeError) as problem:
        with pytest.raises(type(problem), match=re.escape(str(problem))):
            Stacked.of(arrays)
        return
    found = Ends().through({"x": Stacked.of(arrays)})["x"]
    for stacked in (found, stack_now(arrays)):
        assert stacked.dtype == expected.dtype
        assert equal(stacked, expected)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fcM")
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


@given(batches)
def test_any_batch_arrives_as_it_was_sent(batch: object) -> None:
    assert equal(batch, Ends().through(batch))


def test_a_slot_is_reused_until_a_batch_is_too_large_for_it() -> None:
    ends = Ends()
    for rows in (100, 80, 110):
        assert len(ends.through(np.ones((rows, 64)))) == rows
    assert ends.memories == 1
    ends.through(np.ones((1000, 64)))
    assert ends.memories == 2


def test_arrays_are_views_of_the_slot_and_aligned() -> None:
    ends = Ends()
    batch = ends.through({"a": np.ones(3, np.uint8), "b": np.ones((5, 5))})
    assert all(not array.flags.owndata for array in batch.values())
    assert batch["b"].ctypes.data % 64 == 0


def test_named_tuples_keep_their_type() -> None:
    assert isinstance(Ends().through(Pair(np.ones(2), "x")), Pair)


def test_arrays_that_are_yet_to_be_stacked_are_so_in_what_is_pickled_as_a_whole() -> None:
    found = Ends().through(stack([Derived(np.arange(3) + number, "x") for number in range(2)], Stacked.of))
    assert type(found) is Derived
    assert equal(tuple(found), (np.array([[0, 1, 2], [1, 2, 3]]), ["x", "x"]))


def test_tensors_arrive_as_tensors() -> None:
    torch = pytest.importorskip("torch")
    batch = Ends().through({"x": torch.arange(6).reshape(2, 3), "y": np.ones(2)})
    assert torch.equal(batch["x"], torch.arange(6).reshape(2, 3))
    assert isinstance(batch["y"], np.ndarray)


def test_a_strided_array_arrives_whole() -> None:
    array = np.arange(24).reshape(4, 6)[:, ::2]
    assert np.array_equal(Ends().through(array), array)
