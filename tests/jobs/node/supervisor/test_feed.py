"""The batches of a claim, some at a time: all of them once, without what is another's or not wanted."""

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.node.messages import Batch
from jobs.node.supervisor.feed import Feed
from jobs.storage import manifest_column
from jobs.storage.manifest_column import longest_first
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans
from tests.support.builders import write_manifest

TABLE = ShardTable((0, 10, 25, 60, 100), 4)


@given(
    st.lists(st.integers(0, 99).map(TABLE.batch_at)), st.lists(st.integers(0, 3)), st.integers(1, 9), st.integers(0, 9)
)
def test_all_batches_come_once_and_in_order(
    pairs: list[tuple[int, int]], unwanted: list[int], count: int, most: int
) -> None:
    rows, without = Spans(pairs), TABLE.rows_of(unwanted)
    feed = Feed(TABLE, rows)
    feed.most = most
    found: list[Batch] = []
    for _ in range(100):
        if feed.is_empty:
            break
        found += feed.take(count, without)
    assert feed.is_empty
    assert found == [Batch(start, stop, most) for start, stop in sorted(set(pairs)) if start not in without]


@given(st.integers(0, 100), st.integers(0, 8), st.integers(1, 9))
def test_what_is_cut_off_does_not_come(row: int, taken: int, count: int) -> None:
    feed = Feed(TABLE, Spans([(0, 100)]))
    found = feed.take(taken, Spans()) if taken else []
    assert feed.cut(row) == (row < 100)
    assert not feed.cut(row)
    assert not feed.cut(100)
    while not feed.is_empty:
        found += feed.take(count, Spans())
    expected = [start for start, _ in TABLE.batches(Spans([(0, 100)]))]
    assert [batch.start for batch in found] == [start for n, start in enumerate(expected) if n < taken or start < row]
    assert feed.stop == min(row, 100)


def test_a_million_batches_are_not_made_at_once() -> None:
    feed = Feed(ShardTable(range(0, 10_000_001, 10), 10), Spans([(0, 10_000_000)]))
    assert [batch.start for batch in feed.take(3, Spans())] == [0, 10, 20]
    assert not feed.is_empty


def test_a_feed_of_nothing_is_empty() -> None:
    assert Feed(TABLE, Spans()).is_empty


@given(st.lists(st.integers(0, 60), min_size=1, unique=True), st.integers(1, 9), st.integers(0, 60))
def test_an_order_of_its_own_is_kept_and_cut_and_nothing_counts_as_begun_before_all_is_taken(
    numbers: list[int], count: int, row: int
) -> None:
    table, rows = ShardTable((0, 61), 1), Spans.of_numbers(numbers)
    feed = Feed(table, rows, iter(numbers))
    assert feed.begun(numbers[0]) == rows.first
    found = feed.take(count, Spans())
    feed.cut(row)
    while not feed.is_empty:
        found += feed.take(count, Spans())
    expected = [number for place, number in enumerate(numbers) if place < count or number < row]
    assert [batch.start for batch in found] == expected
    assert feed.begun(None) == min(row, rows.stop)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 7), st.sampled_from([1, 1000]))
def test_the_longest_samples_come_first_and_of_short_and_equal_ones_neighbours_together(
    costs: list[int], window: int, slots: int
) -> None:
    rows = Spans([(0, len(costs))]) - Spans([(3, 5)])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_column, "_WINDOW", window)
        path = Path(folder) / "manifest.arrow"
        write_manifest(path, {"seconds": costs}, None)
        found = list(longest_first(path, "seconds", rows, slots))
    assert sorted(found) == list(rows.numbers)
    last = found[-min(window, len(found)) :]
    if slots == 1000:
        assert last == sorted(last, key=lambda number: (-costs[number], number))
    else:
        assert all(costs[late] <= max(costs[early], 0.02 * sum(costs)) for early, late in pairwise(last))
