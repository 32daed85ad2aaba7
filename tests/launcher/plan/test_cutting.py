"""Cutting: all rows of a submission in ranges, cut at batches, as many as there are workers, of equal weight."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec, Part
from jobs.storage.spans import Range, Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher.plan.cutting import assign, cut, share_out

relaxed = settings(deadline=None)  # a loaded machine is no failure
parts_lists = st.lists(st.integers(0, 60), min_size=1, max_size=6)


def plan_of(boundaries: Sequence[int], batch_size: int, parts: tuple[Part, ...] = ()) -> Plan:
    return Plan(
        name="run", fingerprint="f", created=0.0, rows=boundaries[-1], id_column=None, boundaries=tuple(boundaries),
        job=JobSpec("jobs.job:Job"), batch_size=batch_size, seed=0, config={}, parts=parts,
    )  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Shards of 1 to 30 rows, in one part or in several, of which some may be empty."""
    parts = draw(st.lists(st.lists(st.integers(1, 30), max_size=6), min_size=1, max_size=4).filter(any))
    boundaries = list(itertools.accumulate(itertools.chain.from_iterable(parts), initial=0))
    edges = list(itertools.accumulate(map(sum, parts), initial=0))
    named = tuple(Part(f"p{n}", start, stop) for n, (start, stop) in enumerate(itertools.pairwise(edges)))
    return plan_of(boundaries, draw(st.integers(1, 9)), named if len(named) > 1 else ())


@st.composite
def works(draw: st.DrawFn) -> tuple[Plan, Spans]:
    """A plan, and some of its batches."""
    plan = draw(plans())
    batches = list(plan.table.batches(Spans([(0, plan.rows)])))
    chosen = draw(st.lists(st.sampled_from(batches), min_size=1, unique=True))
    return plan, draw(st.sampled_from([Spans(chosen), Spans(batches)]))


def weight(plan: Plan, rows: Spans) -> float:
    return sum(1 / plan.shard(plan.table.shard_at(row)).rows for row in rows.numbers)


def heaviest_unit(plan: Plan, rows: Spans, workers: int) -> float:
    """Of what is never cut: shards where there are enough, else batches."""
    shards = [rows & plan.table.rows_of([shard]) for shard in plan.table.shards_in(rows).numbers]
    batches = [Spans([batch]) for batch in plan.table.batches(rows)]
    return max(weight(plan, unit) for unit in (shards if len(shards) >= workers else batches))


def assert_covers(plan: Plan, rows: Spans, ranges: Sequence[Range]) -> None:
    """Every row lies in one range; every range has rows, and begins and ends with a batch of them."""
    assert sum(rows.within(*range_).count for range_ in ranges) == rows.count
    edges = {edge for batch in plan.table.batches(rows) for edge in batch}
    for start, stop in ranges:
        assert start in rows
        assert stop - 1 in rows
        assert {start, stop} <= edges
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(sorted(ranges)))


@relaxed
@given(works(), st.integers(1, 12))
def test_each_part_is_cut_for_all_workers_into_ranges_of_equal_weight(work: tuple[Plan, Spans], workers: int) -> None:
    plan, rows = work
    ranges = cut(plan, rows, workers)
    assert_covers(plan, rows, ranges)
    assert list(ranges) == sorted(ranges)
    for part in plan.results:
        inside = rows.within(part.start, part.stop)
        own = [rows.within(*range_) for range_ in ranges if part.start <= range_[0] < part.stop]
        assert len(own) == min(workers, len(list(plan.table.batches(inside))))
        for piece in own:
            equal = weight(plan, inside) / len(own)
            assert abs(weight(plan, piece) - equal) <= heaviest_unit(plan, inside, len(own)) * (1 + 1e-9)


@relaxed
@given(works(), st.integers(1, 12))
def test_a_shard_is_whole_where_there_are_enough_of_them(work: tuple[Plan, Spans], workers: int) -> None:
    plan, rows = work
    for start, stop in cut(plan, rows, workers):
        part = next(part for part in plan.results if part.start <= start < part.stop)
        inside = rows.within(part.start, part.stop)
        if len(list(plan.table.shards_in(inside).numbers)) >= workers:
            own = rows.within(start, stop)
            assert plan.table.rows_of(plan.table.shards_in(own).numbers) & rows == own


@relaxed
@given(works(), st.integers(1, 12))
def test_side_by_side_all_parts_advance_together(work: tuple[Plan, Spans], workers: int) -> None:
    plan, rows = work
    ranges = cut(plan, rows, workers, side_by_side=True)
    assert_covers(plan, rows, ranges)
    owner = [next(n for n, part in enumerate(plan.results) if part.start <= start < part.stop) for start, _ in ranges]
    for part in set(owner):
        own = [range_ for range_, number in zip(ranges, owner, strict=True) if number == part]
        assert own == sorted(own)
        for taken in range(1, len(ranges)):
            assert abs(owner[:taken].count(part) - len(own) * taken / len(ranges)) <= 1 + len(set(owner)) / 2


def test_one_worker_takes_turns_where_parts_go_side_by_side() -> None:
    parts = (Part("a", 0, 80), Part("b", 80, 160))
    ranges = cut(plan_of(range(0, 161, 10), 10, parts), Spans([(0, 160)]), 1, side_by_side=True)
    assert [start >= 80 for start, _ in ranges] == [False, True] * 8


def test_many_workers_get_a_range_each_where_parts_go_side_by_side() -> None:
    parts = (Part("a", 0, 4000), Part("b", 4000, 8000))
    assert len(cut(plan_of(range(0, 8001, 10), 10, parts), Spans([(0, 8000)]), 100, side_by_side=True)) == 100


def test_a_shard_weighs_the_same_whatever_its_rows() -> None:
    plan = plan_of([0, 20, 1020, 1040, 2040], 10)
    assert cut(plan, Spans([(0, 2040)]), 2) == ((0, 1020), (1020, 2040))
    assert cut(plan, Spans([(0, 2040)]), 8) == (
        (0, 10), (10, 20), (20, 520), (520, 1020), (1020, 1030), (1030, 1040), (1040, 1540), (1540, 2040),
    )  # fmt: skip


def test_cutting_many_shards_does_not_take_long() -> None:
    plan = plan_of(range(0, 20_000_001, 200), 8)
    ranges = cut(plan, Spans([(0, plan.rows)]), 64)
    assert len(ranges) == 64
    assert all(abs(start - number * plan.rows / 64) <= 200 for number, (start, _) in enumerate(ranges))


def submission(tasks: int, nodes: int | None, config: dict[str, dict[str, str]] | None = None) -> Submission:
    resources = Resources(nodes_per_task=nodes, config=config)
    return Submission(1, "local", 0.0, tasks, Spans(), (), NodeSettings(), resources)


def test_fewer_batches_than_workers_are_fewer_tasks() -> None:
    plan = plan_of([0, 40], 10)
    made = assign(plan, submission(0, 3), Spans([(0, 40)]), 5)
    assert (made.tasks, made.workers, made.ranges) == (2, 6, ((0, 10), (10, 20), (20, 30), (30, 40)))
    assert assign(plan, made, Spans([(10, 20)]), 5) == replace(
        made, tasks=1, rows=Spans([(10, 20)]), ranges=((10, 20),)
    )


def test_the_order_is_that_of_the_submissions_config() -> None:
    plan = plan_of(range(0, 161, 10), 10, (Part("a", 0, 80), Part("b", 80, 160)))
    found = {}
    for order in ("sequential", "parallel"):
        made = assign(plan, submission(0, None, {"data": {"order": order}}), Spans([(0, 160)]), 4)
        assert_covers(plan, made.rows, made.ranges)
        found[order] = [start >= 80 for start, _ in made.ranges]
    assert found == {"sequential": [False] * 4 + [True] * 4, "parallel": [False, True] * 8}


@pytest.mark.parametrize(
    ("tasks", "nodes", "ranges"), [(1, None, 32), (4, None, 128), (2, 2, 128), (1000, None, 4000), (6000, None, 6000)]
)
def test_what_comes_from_a_run_that_goes_on_is_cut_finer_but_not_without_end(
    tasks: int, nodes: int | None, ranges: int
) -> None:
    plan = plan_of([0, 100_000], 10)
    made = assign(plan, submission(0, nodes), Spans([(0, plan.rows)]), tasks, to_come=True)
    assert (made.tasks, len(made.ranges)) == (tasks, ranges)
    assert_covers(plan, made.rows, made.ranges)


def test_it_is_cut_no_finer_than_into_batches() -> None:
    made = assign(plan_of([0, 50], 10), submission(0, None), Spans([(0, 50)]), 8, to_come=True)
    assert (made.tasks, made.ranges) == (5, ((0, 10), (10, 20), (20, 30), (30, 40), (40, 50)))


@relaxed
@given(parts_lists, st.integers(1, 80))
def test_every_part_with_rows_has_a_shard_and_no_more_than_rows(rows: list[int], count: int) -> None:
    shared = share_out(count, [float(number) for number in rows], rows)
    assert all(min(number, 1) <= got <= number for got, number in zip(shared, rows, strict=True))
    assert sum(shared) == min(max(count, sum(number > 0 for number in rows)), sum(rows))


@relaxed
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9)), min_size=1, max_size=3), st.integers(1, 12))
def test_no_other_sharing_out_has_a_lighter_heaviest_shard(parts: list[tuple[int, int]], count: int) -> None:
    rows, weights = [number for number, _ in parts], [float(weight) for _, weight in parts]

    def heaviest(counts: tuple[int, ...]) -> float:
        return max(weight / number for weight, number in zip(weights, counts, strict=True))

    shared = share_out(count, weights, rows)
    others = itertools.product(*(range(1, number + 1) for number in rows))
    assert heaviest(shared) <= min(heaviest(other) for other in others if sum(other) == sum(shared))
