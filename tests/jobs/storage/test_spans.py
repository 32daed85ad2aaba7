"""Spans behave as sets of numbers do, whatever ranges they are made of."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.spans import GrowingSpans, Spans, union

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def as_set(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for start, stop in ranges for number in range(start, stop)}


@given(RANGES)
def test_it_holds_the_numbers_of_its_ranges(ranges: list[tuple[int, int]]) -> None:
    spans, numbers = Spans(ranges), as_set(ranges)
    assert list(spans.numbers) == sorted(numbers)
    assert spans.count == len(numbers)
    assert bool(spans) == bool(numbers)
    assert all((number in spans) == (number in numbers) for number in range(-1, 62))
    assert all(a[1] < b[0] for a, b in zip(list(spans), list(spans)[1:], strict=False))


@given(RANGES, RANGES)
def test_operations_are_those_of_sets(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    one, two = as_set(left), as_set(right)
    assert set((Spans(left) | Spans(right)).numbers) == one | two
    assert set((Spans(left) & Spans(right)).numbers) == one & two
    assert set((Spans(left) - Spans(right)).numbers) == one - two
    assert union([Spans(left), Spans(right)]) == Spans(left) | Spans(right)


@given(RANGES, st.integers(0, 60), st.integers(0, 60))
def test_parts_of_it(ranges: list[tuple[int, int]], start: int, stop: int) -> None:
    spans = Spans(ranges)
    assert set(spans.within(start, stop).numbers) == as_set(ranges) & set(range(start, stop))
    assert list(spans.take(start).numbers) == sorted(as_set(ranges))[:start]


@given(RANGES)
def test_its_text_is_read_back(ranges: list[tuple[int, int]]) -> None:
    spans = Spans(ranges)
    assert Spans.parse(str(spans)) == spans
    assert hash(Spans.parse(str(spans))) == hash(spans)


def test_its_text_is_what_people_write() -> None:
    assert str(Spans([(3, 4), (7, 10)])) == "3,7-9"


@given(RANGES, st.integers(1, 4))
def test_for_a_command_it_is_a_few_ranges_that_hold_all_of_it(ranges: list[tuple[int, int]], most: int) -> None:
    spans = Spans(ranges)
    few = Spans.parse(spans.coarse(most))
    assert len(list(few)) <= most
    assert few & spans == spans
    assert not spans or (few.first, few.stop) == (spans.first, spans.stop)


def test_for_a_command_the_smallest_gaps_are_closed() -> None:
    assert Spans.of_numbers([1, 3, 50, 52, 90]).coarse(3) == "1-3,50-52,90"


def test_for_a_message_it_is_a_few_ranges_and_how_many_more_there_are() -> None:
    assert Spans.of_numbers(range(3, 100_000, 200)).brief(2) == "3,203 and 498 more"
    assert Spans.parse("3,7-9").brief(2) == "3,7-9"


@given(st.lists(st.integers(0, 60)), st.integers(1, 5))
def test_numbers_that_come_one_by_one_are_all_there_in_a_few_ranges(numbers: list[int], most: int) -> None:
    growing = GrowingSpans(most)
    for number in numbers:
        growing.add(number)
    found, exact = growing.spans(), Spans.of_numbers(numbers)
    assert len(list(found)) <= most
    assert found & exact == exact
    assert found == exact or len(list(exact)) > most or len(list(found)) < len(list(exact)) + 1
