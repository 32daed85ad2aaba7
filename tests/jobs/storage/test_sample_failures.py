"""SampleFailures: small and quick however many samples fail, and in however many words."""

import time
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import SampleFailureKind
from jobs.storage.sample_failures import OTHER_MESSAGES, FailureTally, SampleFailures, normalise
from jobs.storage.spans import Spans

LOAD = SampleFailureKind.LOAD


def test_a_tally_takes_the_same_memory_however_many_samples_fail_in_however_many_places_and_words() -> None:
    tally = FailureTally()
    tracemalloc.start()
    for row in range(50_000):
        tally.add(LOAD, f"{'abcdefghijklmnopqrstuvwxy'[row % 25]} {chr(97 + row % 26)}: {row}", row, 3 * row)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    groups = tally.groups()
    assert taken < 2 << 20
    assert sum(group.samples for group in groups) == 50_000
    assert groups[-1].message == OTHER_MESSAGES
    assert all(len(list(group.shards)) <= 100 and len(group.examples) == 3 for group in groups)


@given(st.lists(st.integers(0, 10_000), max_size=300))
def test_no_shard_is_lost_where_they_lie_in_very_many_places(shards: list[int]) -> None:
    tally = FailureTally()
    for row, shard in enumerate(shards):
        tally.add(LOAD, "cannot read", row, shard)
    found = [group.shards for group in tally.groups()]
    assert all(shard in found[0] for shard in shards)
    if len(list(Spans.of_numbers(shards))) <= 100:
        assert found == ([Spans.of_numbers(shards)] if shards else [])


def test_causes_are_told_apart_in_time_that_grows_with_the_length_of_a_message_only() -> None:
    def seconds(length: int) -> float:
        messages = [
            (unit * length)[:length] + str(number) for unit in ("a-", "/", "a/ ", "1.", "0x") for number in range(40)
        ]
        began = time.process_time()
        for message in messages:
            normalise(message)
        return time.process_time() - began

    seconds(100)
    assert seconds(500) < 50 * seconds(100) + 0.05, "five times as long, and no square of that"


def test_examples_have_the_names_that_somebody_gives_to_rows() -> None:
    tally = FailureTally("key{}".format)
    for row in range(5):
        tally.add(LOAD, f"bad {row}", row, 0)
    (group,) = tally.groups()
    assert (group.samples, group.examples) == (5, ("key0", "key1", "key2"))
    assert SampleFailures.from_json(group.to_json()) == group


def test_what_was_written_before_there_were_examples_can_be_read() -> None:
    assert SampleFailures.from_json(["LOAD", "gone", 3, "1-2"]) == SampleFailures(LOAD, "gone", 3, Spans([(1, 3)]))
