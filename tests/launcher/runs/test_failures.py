"""Failures: what is grouped, what is tried again, what is advised."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import AnyFailureKind, FailureKind, SampleFailureKind, Unknown
from jobs.storage.sample_failures import SampleFailures, normalise
from jobs.storage.spans import Spans
from launcher.executors import choose_executor
from launcher.runs.failures import MAX_GROUPS, Failure, FailureGroup, ShardFailures, advice, from_exit_status, group

KINDS = [*FailureKind, Unknown("MELTED")]
KINDS_OF_SAMPLES = [*SampleFailureKind, Unknown("MELTED")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("No such file: /data/a/1.jpg", "No such file: /data/b/22.jpg"),
        ("cannot identify images/cat 1", "cannot identify images/dog 2"),
        ("object at 0x7f00ab has 3 rows", "object at 0x1234 has 17 rows"),
        ("took 1.5 s", "took 22.75 s"),
        ("s3://bucket/key.png: 404", "s3://other/thing.png: 403"),
    ],
)
def test_messages_that_differ_in_paths_and_numbers_are_one_cause(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_exit_codes_and_signals_are_causes_of_their_own() -> None:
    messages = [
        f"ProgramError: {how} 12 (success: 0); stderr: row {{}}" for how in ("exit code", "signal", "HTTP", "code")
    ]
    messages.append(messages[0].replace("12", "77"))
    assert len({normalise(message.format(row)) for message in messages for row in range(3)}) == len(messages)


def test_messages_that_differ_in_words_are_two_causes() -> None:
    assert normalise("KeyError: 'text'") != normalise("KeyError: 'label'")


def test_a_group_has_the_shards_the_samples_and_one_message() -> None:
    failures = [Failure(SampleFailureKind.LOAD, f"bad row {n}", shard=n % 3, samples=1) for n in range(10)]
    (found,) = group(failures)
    assert found == FailureGroup(SampleFailureKind.LOAD, "bad row 0", Spans([(0, 3)]), 10)


def test_failures_of_several_shards_are_joined_under_the_message_of_the_lowest() -> None:
    failures: list[Failure | ShardFailures | SampleFailures] = [
        ShardFailures(FailureKind.LOST, "gone", Spans([(0, 3)])),
        SampleFailures(SampleFailureKind.LOAD, "no file /b", 2, Spans([(2, 5)])),
        SampleFailures(SampleFailureKind.LOAD, "no file /a", 7, Spans([(1, 3)])),
        Failure(FailureKind.LOST, "gone", 4),
    ]
    assert group(failures) == [
        FailureGroup(FailureKind.LOST, "gone", Spans([(0, 3), (4, 5)]), 0),
        FailureGroup(SampleFailureKind.LOAD, "no file /a", Spans([(1, 5)]), 9),
    ]


def test_failures_of_shards_come_before_those_of_samples() -> None:
    groups = group([Failure(SampleFailureKind.LOAD, "bad", 1, samples=1), Failure(FailureKind.ERROR, "no model", 2)])
    assert [found.kind for found in groups] == ["ERROR", "LOAD"]


def test_a_shard_and_a_sample_that_failed_alike_are_two_groups() -> None:
    groups = group([Failure(FailureKind.CRASH, "died", 1), Failure(SampleFailureKind.CRASH, "died", 1, samples=1)])
    assert [found.samples for found in groups] == [0, 1]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=8), st.integers(0, 9), st.integers(0, 3))))
def test_no_failure_and_no_sample_is_lost_in_groups(items: list[tuple[AnyFailureKind, str, int, int]]) -> None:
    failures = [Failure(kind, message, shard, samples) for kind, message, shard, samples in items]
    groups = group(failures)
    assert sum(found.samples for found in groups) == sum(failure.samples for failure in failures)
    assert {s for g in groups for s in g.shards.numbers} == {f.shard for f in failures}
    assert {g.kind for g in groups} == {f.kind for f in failures}


def test_a_million_different_messages_are_a_bounded_number_of_groups() -> None:
    words = (f"{'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10 % 10]}{'uvwxyz'[n // 100 % 6]}" for n in range(600))
    groups = group(Failure(SampleFailureKind.LOAD, word, 0, samples=1) for word in words)
    assert len(groups) == MAX_GROUPS + 1
    assert sum(found.samples for found in groups) == 600


@pytest.mark.parametrize("executor", ["local", "slurm"])
@pytest.mark.parametrize(
    ("kind", "samples"), [*((kind, 0) for kind in KINDS), *((kind, 5) for kind in KINDS_OF_SAMPLES)]
)
def test_advice_is_a_command_that_can_be_pasted(kind: AnyFailureKind, executor: str, samples: int) -> None:
    own = choose_executor(executor).advice
    text = advice(FailureGroup(kind, "m", Spans.of_numbers([3, 7]), samples), "runs/x", own)
    assert "launcher rerun runs/x" in text
    assert "{" not in text
    assert not (executor == "local" and "--mem" in text)


def test_a_task_killed_by_a_signal_is_a_crash_that_names_it() -> None:
    failure = from_exit_status(-signal.SIGKILL, 3, "")
    assert (failure.kind, failure.shard) == ("CRASH", 3)
    assert "SIGKILL" in failure.message


def test_a_task_that_the_kernel_killed_for_its_memory_ran_out_of_it() -> None:
    failure = from_exit_status(-signal.SIGKILL, 3, "", by_kernel=True)
    assert (failure.kind, failure.shard) == ("OUT_OF_MEMORY", 3)


def test_a_task_that_never_began_says_the_last_words_of_its_log() -> None:
    failure = from_exit_status(2, 3, "No module named jobs")
    assert failure.kind == "LAUNCH"
    assert "No module named jobs" in failure.message


def test_of_shards_with_too_many_failed_samples_the_worst_is_told() -> None:
    texts = [f"{count} of 50 samples failed, 0 may (node.max_failed_samples)" for count in (1, 12, 5)]
    failures = [Failure(FailureKind.TOO_MANY_FAILED_SAMPLES, text, shard) for shard, text in enumerate(texts)]
    assert [found.message for found in group(failures)] == [f"up to {texts[1]}"]
    assert [found.message for found in group(failures[:1])] == [texts[0]]


def test_where_nothing_is_computed_all_is_done_again_whatever_has_changed() -> None:
    failed = FailureGroup(FailureKind.ERROR, "no model", Spans([(0, 20)]), 0)
    assert advice(failed, "zs", {}, has_results=False).endswith("correct it, then: launcher rerun zs")
    assert "launcher rerun zs --shards 0-19 --keep-results" in advice(failed, "zs", {})


def test_examples_are_in_the_order_of_their_numbers() -> None:
    names = [("row 10", "row 9"), ("b2", "b10"), ("7",)]
    failures = [SampleFailures(SampleFailureKind.LOAD, "gone", 2, Spans([(0, 1)]), some) for some in names]
    assert [group([one])[0].examples for one in failures] == [("row 9", "row 10"), ("b2", "b10"), ("7",)]
    assert group(failures)[0].examples == ("7", "b2", "b10")
