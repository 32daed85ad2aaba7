"""Streak: which failures are held back, and that what a process has done is told once, or done again."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import SampleFailureKind
from jobs.node.supervisor.streak import Streak, reason_of
from jobs.storage.records import Commit, FailedSample

SAMPLES = 16


def good(row: int) -> Commit:
    return Commit(row, row + 1)


def bad(row: int, message: str = "engine is dead", kind: SampleFailureKind = SampleFailureKind.PROCESS) -> Commit:
    return Commit(row, row + 1, (), (FailedSample(row, kind, f"{message} at {row}"),), True)


def test_failures_that_differ_in_numbers_have_one_reason() -> None:
    assert reason_of("request 17 of 0x7fee12: no engine") == reason_of("request 3 of 0xab: no engine")
    assert reason_of("too long: 931 tokens") != reason_of("no engine: 931 tokens")


def test_one_failure_after_another_is_held_back_until_there_are_too_many() -> None:
    streak = Streak(in_flight=4)
    assert streak.add([good(0)]) == [good(0)]
    for row in range(1, SAMPLES + 4):
        assert streak.add([bad(row)]) == []
        assert not streak.is_long
    streak.add([bad(SAMPLES + 4)])
    assert streak.is_long
    assert streak.blame_process() == f"engine is dead at {SAMPLES + 4}"
    assert streak.held == []


def test_a_process_is_blamed_for_a_reason_once() -> None:
    streak = Streak()
    streak.add([good(0), *(bad(row) for row in range(1, 1 + SAMPLES))])
    streak.blame_process()
    again = [good(0), *(bad(row) for row in range(1, 50))]
    assert streak.add(again) == again


def test_one_that_takes_too_long_counts_where_its_process_lives_on() -> None:
    late = [good(0), *(bad(row, kind=SampleFailureKind.SAMPLE_TIMEOUT) for row in range(1, 1 + SAMPLES + 4))]
    one_by_one, in_batches = Streak(in_flight=4), Streak()
    assert (one_by_one.add(late), one_by_one.is_long) == ([good(0)], True)
    assert (in_batches.add(late), in_batches.is_long) == (late, False)


def test_a_good_sample_settles_what_was_held_back() -> None:
    streak = Streak()
    streak.add([good(0), bad(1), bad(2)])
    assert streak.add([good(3)]) == [bad(1), bad(2), good(3)]


def test_before_anything_was_good_the_process_is_not_suspected() -> None:
    streak = Streak()
    failures = [bad(row) for row in range(50)]
    assert streak.add(failures) == failures


def test_batches_are_held_back_where_all_of_their_samples_failed_and_three_are_too_many() -> None:
    def batch(start: int, failed: int) -> Commit:
        failures = (FailedSample(row, SampleFailureKind.PROCESS, "dead") for row in range(start, start + failed))
        return Commit(start, start + 8, (), tuple(failures), True)

    streak = Streak()
    streak.add([batch(0, 7)])  # one of it was good
    assert streak.add([batch(8, 8), batch(16, 8)]) == []
    assert not streak.is_long
    streak.add([batch(24, 8)])
    assert streak.is_long


_COMMITS = st.lists(
    st.sampled_from([
        good(0), bad(0), bad(0, "another"), bad(0, kind=SampleFailureKind.LOAD), bad(0, kind=SampleFailureKind.CRASH),
        bad(0, kind=SampleFailureKind.SAMPLE_TIMEOUT),
    ]),
    max_size=60,
)  # fmt: skip


@given(_COMMITS, st.integers(1, 5), st.integers(0, 4))
def test_everything_is_told_once_or_held_whatever_comes(kinds: list[Commit], together: int, in_flight: int) -> None:
    commits = [kind._replace(start=row, stop=row + 1) for row, kind in enumerate(kinds)]
    streak, told = Streak(in_flight), list[Commit]()
    for at in range(0, len(commits), together):
        told += streak.add(commits[at : at + together])
        assert sorted([*told, *streak.held], key=lambda one: one.start) == commits[: at + together]
        if streak.is_long:
            assert streak.count >= SAMPLES + in_flight
    told += streak.settle()
    assert sorted(told, key=lambda one: one.start) == commits
