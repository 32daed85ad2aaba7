"""Durations: times of any number of samples, in few numbers."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.durations import Durations, lower_edge, upper_edge

batches = st.lists(st.tuples(st.floats(1e-5, 1e4), st.integers(1, 10_000)), min_size=1, max_size=50)


@given(batches)
def test_all_samples_are_counted_within_the_range_of_their_bin(many: list[tuple[float, int]]) -> None:
    found = Durations()
    for seconds, samples in many:
        found.add(seconds, samples)
    assert found.samples == sum(samples for _, samples in many)
    assert found.seconds == pytest.approx(math.fsum(seconds for seconds, _ in many))
    each = [max(seconds / samples, 1e-6) for seconds, samples in many]
    assert lower_edge(min(found.counts)) <= min(each) * 1.0001
    assert upper_edge(max(found.counts)) >= max(each) * 0.9999


@given(batches)
def test_they_come_back_from_json(many: list[tuple[float, int]]) -> None:
    found = Durations()
    for seconds, samples in many:
        found.add(seconds, samples)
    back = Durations.from_json(json.loads(json.dumps(found.to_json())))
    assert back.counts == found.counts
    assert back.seconds == pytest.approx(found.seconds, abs=1e-3)


def test_quantiles_are_right_to_a_bin() -> None:
    found = Durations()
    for number in range(1, 1001):
        found.add(number / 1000, 1)
    assert 0.5 <= found.quantile(0.5) <= 0.5 * 10**0.2
    assert 0.95 <= found.quantile(0.95) <= 0.95 * 10**0.2
    assert found.mean == pytest.approx(0.5005)


def test_what_was_not_measured_does_not_count() -> None:
    found = Durations()
    found.add(0.0, 10)
    assert found == Durations()


def test_those_of_several_are_added() -> None:
    one, two = Durations({1: 2}, 3.0), Durations({1: 1, 4: 5}, 0.5)
    assert Durations.sum([one, two]) == Durations({1: 3, 4: 5}, 3.5)
