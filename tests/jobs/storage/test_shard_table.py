"""Shards and batches of a plan: every row is in one of each, and in the same one every time."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans

SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=6)


def boundaries_of(sizes: list[int]) -> list[int]:
    return [*itertools.accumulate(sizes, initial=0)]


@given(SIZES, st.integers(1, 7))
def test_batches_cover_the_rows_and_begin_anew_in_each_shard(sizes: list[int], batch_size: int) -> None:
    boundaries = boundaries_of(sizes)
    table = ShardTable(boundaries, batch_size)
    batches = list(table.batches(Spans([(0, boundaries[-1])])))
    assert list(itertools.chain.from_iterable(range(*batch) for batch in batches)) == list(range(boundaries[-1]))
    expected = [
        (start, min(start + batch_size, stop))
        for first, stop in itertools.pairwise(boundaries)
        for start in range(first, stop, batch_size)
    ]
    assert batches == expected
    for start, stop in batches:
        assert all(table.batch_at(row) == (start, stop) for row in range(start, stop))


@given(SIZES, st.integers(1, 7), st.data())
def test_shards_of_rows(sizes: list[int], batch_size: int, data: st.DataObject) -> None:
    boundaries = boundaries_of(sizes)
    table = ShardTable(boundaries, batch_size)
    rows = Spans.of_numbers(data.draw(st.sets(st.integers(0, boundaries[-1] - 1), min_size=1)))
    own = {shard: set(range(*pair)) for shard, pair in enumerate(itertools.pairwise(boundaries))}
    found = set(rows.numbers)
    assert set(table.shards_in(rows).numbers) == {shard for shard, numbers in own.items() if numbers & found}
    assert set(table.whole_shards(rows).numbers) == {shard for shard, numbers in own.items() if numbers <= found}
    assert table.rows_of(own) == Spans([(0, boundaries[-1])])
    assert len(table) == len(sizes)


@given(SIZES, st.integers(1, 7), st.data())
def test_batches_of_some_rows_are_those_that_begin_there(
    sizes: list[int], batch_size: int, data: st.DataObject
) -> None:
    table = ShardTable(boundaries_of(sizes), batch_size)
    batches = list(table.batches(Spans([(0, sum(sizes))])))
    chosen = sorted(data.draw(st.sets(st.sampled_from(batches))))
    assert list(table.batches(Spans(chosen))) == chosen
