"""Remedies: the next attempt gets more of what ran out, within the policy, and of nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.config.sections import RetrySection
from launcher.retry.policy import Need, remedy
from launcher.units import format_memory, format_time, parse_memory, parse_time

GIB = 1 << 30
ASKED = {"mem": "4G", "time": "01:00:00", "partition": "long"}
OTHER_KINDS = ["PREEMPTED", "CRASH", "LOST", ""]


def memory(text: str) -> int:
    return parse_memory(text)


def test_memory_grows_by_the_factor_after_out_of_memory() -> None:
    found = remedy(RetrySection(memory_factor=1.5), ASKED, "OUT_OF_MEMORY", [Need(3)])
    assert found is not None
    assert memory(found.pop("mem")) == 6 * GIB
    assert found == {"time": "01:00:00", "partition": "long"}


def test_time_grows_by_the_factor_after_a_time_limit() -> None:
    found = remedy(RetrySection(time_factor=2), ASKED, "TIMEOUT", [Need(3)])
    assert found is not None
    assert parse_time(found.pop("time")) == 2 * 3600
    assert found == {"mem": "4G", "partition": "long"}


@pytest.mark.parametrize("name", ["mem-per-cpu", "mem-per-gpu"])
def test_memory_grows_in_the_way_it_was_asked_for(name: str) -> None:
    found = remedy(RetrySection(memory_factor=2), {name: "2G"}, "OUT_OF_MEMORY", [Need(0)])
    assert found is not None
    assert found.keys() == {name}
    assert memory(found[name]) == 4 * GIB


def test_growth_stops_at_the_maximum() -> None:
    retry = RetrySection(memory_factor=10, max_memory="5G", time_factor=10, max_time="90")
    more = remedy(retry, ASKED, "OUT_OF_MEMORY", [Need(0)])
    longer = remedy(retry, ASKED, "TIMEOUT", [Need(0)])
    assert more is not None
    assert longer is not None
    assert memory(more["mem"]) == 5 * GIB
    assert parse_time(longer["time"]) == 90 * 60


@pytest.mark.parametrize(
    ("retry", "kind"),
    [
        (RetrySection(max_memory="4G"), "OUT_OF_MEMORY"),
        (RetrySection(memory_factor=1), "OUT_OF_MEMORY"),
        (RetrySection(max_time="60"), "TIMEOUT"),
        (RetrySection(time_factor=1), "TIMEOUT"),
    ],
)
def test_where_nothing_more_can_be_given_there_is_no_remedy(retry: RetrySection, kind: str) -> None:
    assert remedy(retry, ASKED, kind, [Need(0)]) is None


def test_without_an_option_what_slurm_gave_is_where_growth_starts() -> None:
    needs = [Need(0, "n1", "500M", "00:10:00"), Need(1, "n2", "2Gn", "00:20:00"), Need(2, "n3", "", "")]
    retry = RetrySection(memory_factor=2, time_factor=2)
    more, longer = remedy(retry, {}, "OUT_OF_MEMORY", needs), remedy(retry, {}, "TIMEOUT", needs)
    assert more is not None
    assert longer is not None
    assert (memory(more["mem"]), parse_time(longer["time"])) == (4 * GIB, 40 * 60)


def test_where_nobody_knows_what_it_had_there_is_no_remedy() -> None:
    assert remedy(RetrySection(), {}, "OUT_OF_MEMORY", [Need(0)]) is None
    assert remedy(RetrySection(), {}, "TIMEOUT", [Need(0, "n1", "", "UNLIMITED")]) is None


@pytest.mark.parametrize("kind", ["NODE_FAIL", "LAUNCH"])
def test_a_node_that_failed_is_avoided_beside_those_avoided_before(kind: str) -> None:
    needs = [Need(0, "n3"), Need(1, "n2"), Need(2, "n3"), Need(3, "None assigned"), Need(4)]
    assert remedy(RetrySection(), ASKED, kind, needs) == {**ASKED, "exclude": "n2,n3"}
    before = {**ASKED, "exclude": "n[7,9],n2"}
    assert remedy(RetrySection(), before, kind, needs) == {**ASKED, "exclude": "n[7,9],n2,n3"}
    assert remedy(RetrySection(), {"exclude": ["n9"]}, kind, needs) == {"exclude": "n9,n2,n3"}


def test_nodes_are_kept_where_the_config_says_so() -> None:
    assert remedy(RetrySection(exclude_failed_nodes=False), ASKED, "NODE_FAIL", [Need(0, "n1")]) == ASKED


def test_a_shard_that_never_reached_a_node_excludes_none() -> None:
    assert remedy(RetrySection(), ASKED, "LAUNCH", [Need(0), Need(1, "None assigned")]) == ASKED


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_what_ran_out_of_nothing_gets_the_same_again(kind: str) -> None:
    assert remedy(RetrySection(), ASKED, kind, [Need(0, "n1", "4G", "01:00:00")]) == ASKED


@given(
    st.integers(1, 4096),
    st.floats(1, 10),
    st.none() | st.integers(1, 1 << 16),
    st.sampled_from(["OUT_OF_MEMORY", "TIMEOUT"]),
)
def test_a_remedy_is_always_more_than_before_and_never_over_the_maximum(
    before: int, factor: float, maximum: int | None, kind: str
) -> None:
    """``before`` and ``maximum`` count MiB, or minutes."""
    is_memory = kind == "OUT_OF_MEMORY"
    name, parse = ("mem", parse_memory) if is_memory else ("time", parse_time)

    def text(number: int) -> str:
        return format_memory(number << 20) if is_memory else format_time(60 * number)

    limits: dict[str, Any] = {"max_memory" if is_memory else "max_time": None if maximum is None else text(maximum)}
    retry = RetrySection(memory_factor=factor, time_factor=factor, **limits)
    found = remedy(retry, {name: text(before)}, kind, [Need(0)])
    if found is None:
        assert factor < 1.5 or (maximum is not None and maximum <= before)
    else:
        assert parse(found[name]) > parse(text(before))
        assert maximum is None or parse(found[name]) <= parse(text(maximum))
