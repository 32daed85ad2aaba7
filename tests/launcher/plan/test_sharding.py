"""Sharding: every row in one shard, in order, balanced; shard ranges."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.storage.shard_table import Shard
from jobs.storage.spans import Spans
from launcher.plan.sharding import (
    ALIGNMENT,
    default_shards,
    parse_ranges,
    split_by_cost,
    split_by_size,
    split_evenly,
    split_parts,
)

LARGE = 16 * ALIGNMENT
counts = st.integers(1, 40)
costs_lists = st.one_of(
    st.lists(st.integers(0, 9).map(float), min_size=1, max_size=12),
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=20),
)


def assert_partition(shards: tuple[Shard, ...], rows: int) -> None:
    """Every row is in exactly one shard, in order; no shard is empty; they are numbered from 0."""
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(shard.rows > 0 for shard in shards)
    covered = [row for shard in shards for row in (shard.start, shard.stop)]
    assert covered[:1] == [0][: len(shards)]
    assert covered[-1:] == [rows][: len(shards)]
    assert covered[1:-1:2] == covered[2::2]
    assert sum(shard.rows for shard in shards) == rows


def best_bottleneck(costs: list[float], shards: int) -> float:
    """The smallest possible cost of the dearest shard, by dynamic programming over all contiguous splits."""
    sums = [0.0, *itertools.accumulate(costs)]
    rows = len(costs)
    best = [sums[stop] for stop in range(rows + 1)]
    for _ in range(min(shards, rows) - 1):
        best = [
            min((max(best[cut], sums[stop] - sums[cut]) for cut in range(stop + 1)), default=0.0)
            for stop in range(rows + 1)
        ]
    return best[rows]


@given(st.integers(0, 10**7), st.integers(1, 3000))
def test_split_evenly_gives_each_row_to_one_of_as_many_shards_as_asked(rows: int, shards: int) -> None:
    split = split_evenly(rows, shards)
    assert_partition(split, rows)
    assert len(split) == min(rows, shards)


@given(st.integers(1, LARGE), counts)
def test_small_even_shards_differ_by_one_row_at_most(rows: int, shards: int) -> None:
    sizes = [shard.rows for shard in split_evenly(rows, shards)]
    if rows // len(sizes) < LARGE:
        assert max(sizes) - min(sizes) <= 1


@given(st.integers(LARGE, 10**9), counts)
def test_large_even_shards_are_aligned_and_nearly_equal(rows: int, shards: int) -> None:
    split = split_evenly(rows, min(shards, rows // LARGE))
    assert_partition(split, rows)
    assert all(shard.start % ALIGNMENT == 0 for shard in split)
    sizes = [shard.rows for shard in split]
    assert max(sizes) - min(sizes) <= 2 * ALIGNMENT


@given(st.integers(0, 50_000), st.integers(1, 40_000))
@example(50_000, 17_000)
def test_split_by_size_gives_shards_of_that_size(rows: int, size: int) -> None:
    split = split_by_size(rows, size)
    assert_partition(split, rows)
    assert len(split) == -(-rows // size)
    if size < LARGE:
        assert all(shard.rows == size for shard in split[:-1])
    else:
        assert all(abs(shard.rows - size) < ALIGNMENT for shard in split[:-1])
        assert all(shard.start % ALIGNMENT == 0 for shard in split)


@given(costs_lists, st.integers(1, 8))
@example([6.0, 1.0, 1.0, 5.0, 9.0, 7.0], 3)  # equal shares in turn would leave 16 for the last shard
@example([2.0, 2.0, 3.0, 1.0, 4.0, 9.0, 8.0], 3)  # a bottleneck 10% too high would do for the greedy check
@example([1.0, 9.0, 2.0, 5.0], 3)  # the first share ends nearest to 10, over the bottleneck
def test_split_by_cost_is_a_partition_within_5_percent_of_the_best(costs: list[float], shards: int) -> None:
    split = split_by_cost(np.array(costs), shards)
    assert_partition(split, len(costs))
    assert len(split) == min(len(costs), shards)
    dearest = max(sum(costs[shard.start : shard.stop]) for shard in split)
    assert dearest <= best_bottleneck(costs, shards) * 1.05 + 1e-300


@pytest.mark.parametrize("shards", [2, 3, 6])
@pytest.mark.parametrize("spread", [0.1, 1.0, 2.0])
def test_large_shards_by_cost_are_aligned_within_the_5_percent(shards: int, spread: float) -> None:
    rows = 2 * LARGE * shards + 777
    costs = np.random.default_rng(shards).lognormal(0, spread, rows)
    split = split_by_cost(costs, shards)
    assert_partition(split, rows)
    dearest = max(costs[shard.start : shard.stop].sum() for shard in split)
    assert dearest <= (costs.sum() / shards + costs.max()) * 1.05
    assert sum(shard.start % ALIGNMENT == 0 for shard in split) >= len(split) - 1


def test_even_costs_give_aligned_boundaries_where_shards_are_large() -> None:
    split = split_by_cost(np.ones(100 * LARGE + 333), 100)
    assert sum(shard.start % ALIGNMENT == 0 for shard in split) == 100


def test_a_boundary_stays_unaligned_where_moving_it_would_unbalance_the_shards() -> None:
    costs = np.zeros(2 * LARGE)
    costs[LARGE + 300 : LARGE + 500] = 1.0  # all that costs anything lies between two aligned rows
    assert [shard.stop for shard in split_by_cost(costs, 2)] == [LARGE + 400, 2 * LARGE]


def test_rows_that_cost_nothing_are_shared_out_too() -> None:
    assert [shard.rows for shard in split_by_cost(np.array([5.0] + [0.0] * 9), 4)] == [1, 3, 3, 3]
    assert [shard.rows for shard in split_by_cost(np.zeros(8), 4)] == [2, 2, 2, 2]


def test_equal_costs_are_split_as_evenly_as_rows() -> None:
    assert split_by_cost(np.full(1000, 0.1), 8) == split_evenly(1000, 8)


@pytest.mark.parametrize("costs", [[1.0, -1.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_costs_that_are_no_costs_are_refused(costs: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        split_by_cost(np.array(costs), 2)


@pytest.mark.parametrize("split", [split_evenly, split_by_size])
def test_counts_below_one_are_refused(split: object) -> None:
    with pytest.raises(ValueError, match="cannot split"):
        split(10, 0)  # type: ignore[operator]


def test_huge_costs_do_not_overflow() -> None:
    assert [shard.rows for shard in split_by_cost(np.full(4, 1e308), 2)] == [2, 2]


@pytest.mark.parametrize("unit", [1.0, 1.5e308, 5e-324])
def test_costs_of_parts_near_the_ends_of_floats_are_balanced_as_any(unit: float) -> None:
    costs = np.repeat([unit, 0.0], [10, 10])
    assert split_parts([10, 10], 5, None, costs) == (0, 2, 5, 7, 10, 20)


def test_ten_million_costs_take_seconds() -> None:
    costs = np.random.default_rng(1).exponential(1.0, 10_000_000)
    begin = time.process_time()
    split = split_by_cost(costs, 1000)
    assert time.process_time() - begin < 10
    assert_partition(split, len(costs))


@given(st.integers(1, 10**9))
def test_default_shards_are_neither_tiny_nor_too_many(rows: int) -> None:
    shards = default_shards(rows)
    assert 1 <= shards <= 1000
    assert rows / shards <= max(10_000, rows / 1000)
    assert shards == 1 or rows / shards > 50


@given(st.sets(st.integers(0, 300), min_size=1))
def test_ranges_read_back_as_written(numbers: set[int]) -> None:
    assert parse_ranges(str(Spans.of_numbers(numbers)), 301) == tuple(sorted(numbers))


def test_ranges_may_come_in_any_order_with_blanks() -> None:
    assert parse_ranges(" 3, 7 - 9,8", 10) == (3, 7, 8, 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3,x", "'x' is not a shard"),
        ("", "'' is not a shard"),
        ("3,", "'' is not a shard"),
        ("-1", "'-1' is not a shard"),
        ("9-7", "write 7-9"),
        ("3,10", "no shard 10; the run has shards 0-9"),
        ("0-999999999999", "no shard 999999999999"),
    ],
)
def test_bad_ranges_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_ranges(text, 10)


def test_a_run_of_one_shard_is_not_said_to_have_several() -> None:
    with pytest.raises(InputError, match="there is no shard 3; the run has shard 0 alone"):
        parse_ranges("3", 1)


parts_lists = st.lists(st.integers(0, 60), min_size=1, max_size=6)


@given(parts_lists, st.one_of(st.none(), st.integers(1, 30)), st.one_of(st.none(), st.integers(1, 30)), st.booleans())
def test_no_shard_lies_in_two_parts(rows: list[int], shards: int | None, size: int | None, by_cost: bool) -> None:
    costs = np.arange(sum(rows), dtype=np.float64) if by_cost else None
    boundaries = split_parts(rows, shards, None if shards else size, costs)
    assert list(boundaries) == sorted(set(boundaries))
    assert boundaries[0] == 0
    assert set(itertools.accumulate(rows)) - {0} <= set(boundaries)
    assert boundaries[-1] == sum(rows)


@given(st.integers(1, 300), st.one_of(st.none(), st.integers(1, 40)), st.one_of(st.none(), st.integers(1, 40)))
def test_a_single_part_is_split_as_if_there_were_no_parts(rows: int, shards: int | None, size: int | None) -> None:
    if size is not None and shards is None:
        whole = split_by_size(rows, size)
    else:
        whole = split_evenly(rows, shards or default_shards(rows))
    assert split_parts([rows], shards, None if shards else size) == (0, *(shard.stop for shard in whole))
    costs = np.linspace(1, 5, rows)
    by_cost = split_by_cost(costs, shards or default_shards(rows))
    assert split_parts([rows], shards, None, costs) == (0, *(shard.stop for shard in by_cost))
