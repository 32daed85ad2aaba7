"""Retry policy: what is tried again; the next attempt gets more of what ran out, within the limits, and of nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import AnyFailureKind, FailureKind, SampleFailureKind, Unknown
from launcher.config.settings import RetrySettings
from launcher.retry.policy import Allocation, Terms, next_terms

# The machine may be busy with other things.

GIB = 1 << 30
TERMS = Terms(memory=4 * GIB, time=3600)
BAD_NODE = [FailureKind.NODE_FAIL, FailureKind.LAUNCH, FailureKind.STALLED]
SAME_AGAIN = [FailureKind.PREEMPTED, FailureKind.CRASH, FailureKind.LOST]
RAN_OUT = [FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT]
HOPELESS = [
    FailureKind.CANCELLED, FailureKind.ERROR, FailureKind.TOO_MANY_FAILED_SAMPLES, FailureKind.DISK, Unknown("MELTED"),
    *SampleFailureKind,
]  # fmt: skip


def after(
    kind: FailureKind | None, terms: Terms = TERMS, had: Allocation | list[Allocation] | None = None, **retry: object
) -> Terms | None:
    """The terms after a failure, as if it cost no attempt."""
    allocations = had if isinstance(had, list) else [had or Allocation()]
    found = next_terms(kind, False, terms, RetrySettings(**{"attempts": 100, **retry}), allocations)  # type: ignore[arg-type]
    return found and replace(found, attempt=terms.attempt)


def test_every_kind_is_looked_at() -> None:
    assert {*BAD_NODE, *SAME_AGAIN, *RAN_OUT, *HOPELESS} >= {*FailureKind, *SampleFailureKind}


# --- what is tried again


@pytest.mark.parametrize("kind", [*BAD_NODE, *SAME_AGAIN])
def test_what_may_end_otherwise_by_itself_is_tried_again_without_limits_to_raise_too(kind: FailureKind) -> None:
    assert next_terms(kind, False, Terms(), RetrySettings(), [Allocation()])


@pytest.mark.parametrize("kind", HOPELESS)
def test_what_fails_the_same_way_until_somebody_changes_something_is_left(kind: AnyFailureKind) -> None:
    assert next_terms(kind, False, TERMS, RetrySettings(), [Allocation("n1", GIB, 60)]) is None


@pytest.mark.parametrize("kind", RAN_OUT)
def test_what_ran_out_of_something_is_tried_again_only_where_there_is_more_of_it(kind: FailureKind) -> None:
    assert next_terms(kind, False, TERMS, RetrySettings(), [Allocation()])
    assert next_terms(kind, False, Terms(), RetrySettings(), [Allocation()]) is None


@pytest.mark.parametrize("kind", [None, *BAD_NODE, *RAN_OUT, FailureKind.CRASH, FailureKind.LOST])
def test_attempts_are_counted_to_the_last(kind: FailureKind | None) -> None:
    retry = RetrySettings(attempts=3)
    found = next_terms(kind, False, replace(TERMS, attempt=2), retry, [])
    assert found
    assert found.attempt == 3
    assert next_terms(kind, False, found, retry, []) is None


def test_who_had_to_make_way_has_lost_no_attempt() -> None:
    last = replace(TERMS, attempt=3)
    assert next_terms(FailureKind.PREEMPTED, False, last, RetrySettings(attempts=3), []) == last


def test_who_was_told_to_leave_goes_on_as_often_as_he_got_on() -> None:
    last = replace(TERMS, attempt=3)
    assert next_terms(None, True, last, RetrySettings(attempts=3), []) == last
    assert next_terms(None, False, last, RetrySettings(attempts=3), []) is None


# --- with what


def test_memory_grows_by_the_factor_after_out_of_memory() -> None:
    assert after(FailureKind.OUT_OF_MEMORY, memory_factor=1.5) == replace(TERMS, memory=6 * GIB)


def test_time_grows_by_the_factor_after_a_time_limit() -> None:
    assert after(FailureKind.TIMEOUT, time_factor=2) == replace(TERMS, time=2 * 3600)


def test_growth_stops_at_the_maximum() -> None:
    retry: dict[str, Any] = {"memory_factor": 10, "max_memory": 5 * GIB, "time_factor": 10, "max_time": 90 * 60}
    assert after(FailureKind.OUT_OF_MEMORY, **retry) == replace(TERMS, memory=5 * GIB)
    assert after(FailureKind.TIMEOUT, **retry) == replace(TERMS, time=90 * 60)


@pytest.mark.parametrize(
    ("retry", "kind"),
    [
        ({"max_memory": 4 * GIB}, FailureKind.OUT_OF_MEMORY),
        ({"memory_factor": 1}, FailureKind.OUT_OF_MEMORY),
        ({"max_time": 3600}, FailureKind.TIMEOUT),
        ({"time_factor": 1}, FailureKind.TIMEOUT),
    ],
)
def test_where_nothing_more_can_be_given_there_is_no_attempt(retry: dict[str, Any], kind: FailureKind) -> None:
    assert after(kind, **retry) is None


def test_what_the_scheduler_gave_is_where_growth_starts_if_nothing_was_asked_for() -> None:
    had = [Allocation("n1", GIB // 2, 600), Allocation("n2", 2 * GIB, 1200), Allocation("n3")]
    assert after(FailureKind.OUT_OF_MEMORY, Terms(), had, memory_factor=2) == Terms(memory=4 * GIB)
    assert after(FailureKind.TIMEOUT, Terms(), had, time_factor=2) == Terms(time=40 * 60)


def test_where_nobody_knows_what_it_had_there_is_no_attempt() -> None:
    assert after(FailureKind.OUT_OF_MEMORY, Terms(), Allocation("n1", None, 600)) is None
    assert after(FailureKind.TIMEOUT, Terms(), Allocation("n1", GIB, None)) is None


@pytest.mark.parametrize("kind", BAD_NODE)
def test_a_node_that_failed_is_avoided_beside_those_avoided_before(kind: FailureKind) -> None:
    had = [Allocation("n3"), Allocation("n2"), Allocation("n3"), Allocation()]
    assert after(kind, TERMS, had) == replace(TERMS, excluded_nodes=("n2", "n3"))
    before = replace(TERMS, excluded_nodes=("n[7,9]", "n2"))
    assert after(kind, before, had) == replace(TERMS, excluded_nodes=("n[7,9]", "n2", "n3"))


@pytest.mark.parametrize("kind", BAD_NODE)
def test_nodes_are_kept_where_the_config_says_so(kind: FailureKind) -> None:
    assert after(kind, TERMS, Allocation("n1"), exclude_failed_nodes=False) == TERMS


@pytest.mark.parametrize("kind", BAD_NODE)
def test_a_shard_that_never_reached_a_node_excludes_none(kind: FailureKind) -> None:
    assert after(kind, TERMS, [Allocation(), Allocation()]) == TERMS


@pytest.mark.parametrize("kind", [*SAME_AGAIN, None])
def test_what_ran_out_of_nothing_gets_the_same_again(kind: FailureKind | None) -> None:
    assert after(kind, TERMS, Allocation("n1", 4 * GIB, 3600)) == TERMS


# --- whatever happens

KINDS = st.sampled_from([None, *FailureKind, *SampleFailureKind, Unknown("MELTED")])
SIZES = st.none() | st.integers(1, 1 << 40)
ALLOCATIONS = st.lists(st.builds(Allocation, st.sampled_from([None, "n1", "n2", "n3"]), SIZES, SIZES), max_size=3)
FACTORS = st.floats(1, 10)
RETRIES = st.builds(RetrySettings, st.integers(1, 6), FACTORS, SIZES, FACTORS, SIZES, st.booleans())
TERMS_SO_FAR = st.builds(Terms, st.integers(1, 6), SIZES, SIZES, st.sampled_from([(), ("n1",), ("n9", "n2")]))
GROWS: Mapping[AnyFailureKind | None, str] = {
    FailureKind.OUT_OF_MEMORY: "memory",
    FailureKind.TIMEOUT: "time",
    FailureKind.NODE_FAIL: "excluded_nodes",
    FailureKind.LAUNCH: "excluded_nodes",
    FailureKind.STALLED: "excluded_nodes",
}


@given(KINDS, st.booleans(), TERMS_SO_FAR, RETRIES, ALLOCATIONS)
def test_each_kind_grows_only_what_it_ran_out_of(
    kind: AnyFailureKind | None, progress: bool, terms: Terms, retry: RetrySettings, had: list[Allocation]
) -> None:
    found = next_terms(kind, progress, terms, retry, had)
    if found:
        may_differ = {"attempt": terms.attempt, **({GROWS[kind]: getattr(terms, GROWS[kind])} if kind in GROWS else {})}
        assert replace(found, **may_differ) == terms


@given(KINDS, st.booleans(), TERMS_SO_FAR, RETRIES, ALLOCATIONS)
def test_the_next_attempt_never_gets_less_and_never_more_than_the_maxima(
    kind: AnyFailureKind | None, progress: bool, terms: Terms, retry: RetrySettings, had: list[Allocation]
) -> None:
    found = next_terms(kind, progress, terms, retry, had)
    if found:
        for name, limit in (("memory", retry.max_memory), ("time", retry.max_time)):
            before, now = getattr(terms, name), getattr(found, name)
            assert before is None or now >= before
            assert now == before or limit is None or now <= limit
        assert found.excluded_nodes[: len(terms.excluded_nodes)] == terms.excluded_nodes
        assert terms.attempt <= found.attempt <= max(retry.attempts, terms.attempt)


@given(st.sampled_from(RAN_OUT), TERMS_SO_FAR, RETRIES, ALLOCATIONS)
def test_what_ran_out_of_something_gets_more_of_it_or_no_attempt(
    kind: FailureKind, terms: Terms, retry: RetrySettings, had: list[Allocation]
) -> None:
    found = next_terms(kind, False, terms, retry, had)
    if found:
        name = GROWS[kind]
        known = [size for one in had if (size := getattr(one, name)) is not None]
        before = getattr(terms, name)
        assert getattr(found, name) > (max(known) if before is None else before)


@given(st.lists(st.tuples(KINDS, st.booleans(), ALLOCATIONS), max_size=40), TERMS_SO_FAR, RETRIES)
def test_a_chain_of_attempts_ends(
    ends: list[tuple[AnyFailureKind | None, bool, list[Allocation]]], terms: Terms, retry: RetrySettings
) -> None:
    """Whatever it fails for: only what had to make way, or got on, may go on beyond ``attempts``."""
    failures = 0
    current = replace(terms, attempt=1)
    for kind, progress, had in ends:
        following = next_terms(kind, progress, current, retry, had)
        if following is None:
            break
        failures += kind not in (None, FailureKind.PREEMPTED) or (kind is None and not progress)
        assert following.attempt == 1 + failures
        current = following
    assert failures < retry.attempts


@given(TERMS_SO_FAR, RETRIES, ALLOCATIONS)
def test_making_way_costs_no_attempt(terms: Terms, retry: RetrySettings, had: list[Allocation]) -> None:
    terms = replace(terms, attempt=min(terms.attempt, retry.attempts))
    assert next_terms(FailureKind.PREEMPTED, False, terms, retry, had) == terms
