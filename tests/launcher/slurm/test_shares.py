"""Shares: how array tasks that may run at a time are shared out between arrays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.slurm.handover import shares


@given(st.lists(st.integers(1, 50), max_size=12), st.integers(0, 100))
def test_together_they_are_as_many_as_may_be_and_none_has_more_than_it_wants(wanted: list[int], most: int) -> None:
    found = shares(wanted, most)
    assert sum(found) == min(sum(wanted), most)
    assert all(0 <= share <= own for share, own in zip(found, wanted, strict=True))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 100))
def test_who_gets_less_than_it_wants_gets_as_much_as_any_other(wanted: list[int], most: int) -> None:
    found = shares(wanted, most)
    short = [share for share, own in zip(found, wanted, strict=True) if 0 < share < own]
    assert all(share >= max(found) - 1 for share in short)
    assert found == [*found[: min(most, len(wanted))], *[0] * (len(wanted) - most)]


@pytest.mark.parametrize(
    ("wanted", "most", "found"), [([10, 10], 5, [2, 3]), ([1, 10], 5, [1, 4]), ([3, 3, 3], 2, [1, 1, 0]), ([2], 0, [0])]
)
def test_examples(wanted: list[int], most: int, found: list[int]) -> None:
    assert shares(wanted, most) == found
