"""What is claimed of samples that are taken while their run goes on; and how whole arrays fare by it, simulated."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.kinds import EndReason
from jobs.node.supervisor.claimer import Claimer
from jobs.node.supervisor.inflow import Inflow
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import NodeSettings, Submission
from tests.support.builders import AttemptWriter, submit
from tests.support.overlaps import (
    Clock,
    build_downstream,
    build_upstream,
    do,
    end_submission,
    reading_takes_no_time,
    upstream_of,
)
from tests.support.simulated_workers import Fate, World

ME = "0001-00000-00000000"


@pytest.fixture(autouse=True)
def looks_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reading_takes_no_time(monkeypatch)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def first(tmp_path: Path) -> RunDir:
    return build_upstream(tmp_path)


@pytest.fixture
def second(tmp_path: Path, first: RunDir) -> RunDir:
    """Of two workers, each with four of the ranges of 8 rows."""
    run = build_downstream(tmp_path, upstream_of(first))
    ranges = tuple(itertools.pairwise(range(0, 65, 8)))
    Submission(1, "local", 0.0, 2, Spans([(0, 64)]), ranges, NodeSettings()).write(run.submission(1))
    run.claims(1).mkdir()
    return run


def claimer(run: RunDir, clock: Clock, worker: int = 0, name: str = ME) -> Claimer:
    return Claimer(run, Plan.read(run.plan), Submission.read(run.submission(1)), worker, name, clock=clock)


def claimed(run: RunDir) -> set[int]:
    return {one.range for one in ClaimFolder(run.claims(1)).read()}


def later(clock: Clock, seconds: float = 1.0) -> None:
    clock.now += seconds


def test_own_ranges_are_claimed_when_they_are_there_and_none_is_forgotten(
    first: RunDir, second: RunDir, clock: Clock
) -> None:
    mine = claimer(second, clock)
    assert mine.next(0.0, 1.0) == 1.0
    do(first, "32-39")
    later(clock)
    assert mine.next(0.0, 1.0) == Claim(4, 1, ME, 32, 40)
    assert mine.next(1.0, 0.0) == 1.0
    assert claimed(second) == {4}
    do(first, "0-7", worker=1)
    later(clock)
    assert mine.next(1.0, 0.0) == Claim(0, 1, ME, 0, 8)
    assert mine.done_by(Claim(0, 1, ME, 0, 8)) == {1: Spans([(0, 8)])}


def test_a_range_of_which_a_part_is_there_is_not(first: RunDir, second: RunDir, clock: Clock) -> None:
    mine = claimer(second, clock)
    do(first, "0-3,8-15")
    assert mine.next(0.0, 1.0) == Claim(1, 1, ME, 8, 16)  # of the other worker
    assert mine.next(1.0, 0.0) == 1.0


def test_those_of_others_that_are_there_are_claimed_before_own_ones_that_are_not(
    first: RunDir, second: RunDir, clock: Clock
) -> None:
    do(first, "8-15,24-31")
    mine = claimer(second, clock)
    found = {mine.next(0.0, 1.0), mine.next(1.0, 0.0)}
    assert found == {Claim(1, 1, ME, 8, 16), Claim(3, 1, ME, 24, 32)}
    assert mine.next(1.0, 0.0) == 1.0


def test_what_one_that_is_over_has_left_is_taken_over(first: RunDir, second: RunDir, clock: Clock) -> None:
    do(first, "8-15")
    with AttemptWriter(second, worker=1) as other:
        assert ClaimFolder(second.claims(1)).take(Claim(1, 1, other.name, 8, 16))
        other.hold(8, 16, 1)
        other.commit_all(Spans([(8, 12)]))
        other.beat(end=EndReason.STOPPED)
    mine = claimer(second, clock)
    assert mine.next(1.0, 0.0) == Claim(1, 2, ME, 12, 16)
    assert mine.done_by(Claim(1, 2, ME, 12, 16)) == {1: Spans([(12, 16)])}


def test_it_leaves_when_nothing_more_is_to_come(first: RunDir, second: RunDir, clock: Clock) -> None:
    mine = claimer(second, clock)
    do(first, "0-7").end()
    assert mine.next(0.0, 1.0) == Claim(0, 1, ME, 0, 8)
    with AttemptWriter(second, name=ME) as own:
        own.commit_all(Spans([(0, 8)]))
        own.beat()
        assert mine.next(1.0, 0.0) == 1.0
        end_submission(first)
        later(clock)
        assert mine.next(1.0, 0.0) is None


def test_it_does_not_leave_while_another_may_leave_something_of_what_is_there(
    first: RunDir, second: RunDir, clock: Clock
) -> None:
    do(first, "0-15")
    end_submission(first)
    with AttemptWriter(second, worker=1) as other:
        assert ClaimFolder(second.claims(1)).take(Claim(1, 1, other.name, 8, 16))
        other.hold(8, 16, 1)
        other.beat(begun=12)
        mine = claimer(second, clock)
        assert mine.next(0.0, 1.0) == Claim(0, 1, ME, 0, 8)
        with AttemptWriter(second, name=ME) as own:
            own.commit_all(Spans([(0, 8)]))
            own.beat()
            assert isinstance(mine.next(1.0, 0.0), float)
            other.beat(end=EndReason.STOPPED)
            assert mine.next(1.0, 0.0) == Claim(1, 2, ME, 8, 16)


def test_a_submission_that_has_ended_is_left(first: RunDir, second: RunDir, clock: Clock) -> None:
    mine = claimer(second, clock)
    assert mine.next(0.0, 1.0) == 1.0
    second.claims(1).rmdir()
    later(clock)
    assert mine.next(0.0, 1.0) is None


def test_one_whose_samples_are_not_there_yet_is_not_too_late(first: RunDir, second: RunDir, clock: Clock) -> None:
    assert not claimer(second, clock).is_too_late()


def test_rows_that_were_done_again_are_those_of_a_new_submission(first: RunDir, second: RunDir, clock: Clock) -> None:
    do(first, "0-63")
    do(first, "8-15", submission=2)
    end_submission(first)
    made, name = submit(second, 2, rows=Spans([(8, 16)]), claims=True), "0002-00000-00000000"
    mine = Claimer(second, Plan.read(second.plan), made, 0, name, clock=clock)
    assert mine.next(0.0, 1.0) == Claim(0, 1, name, 8, 16)
    assert mine.done_by(Claim(0, 1, name, 8, 16)) == {2: Spans([(8, 16)])}


# --- a chain, simulated


class SeenInflow(Inflow):
    """What workers of one world see of another one that has been, as of their time."""

    def __init__(self, of: World, to: World) -> None:
        self.to = to
        beats = sorted((time, name, beat.done) for name, seen in of.beaten.items() for time, beat in seen)
        last, self.done = dict[str, Spans](), list[tuple[float, Spans]]()
        for time, name, rows in beats:
            last[name] = rows
            self.done.append((time, union(last.values())))

    def has(self, start: int, stop: int) -> bool:
        there = next((rows for time, rows in reversed(self.done) if time <= self.to.now), Spans())
        return there.within(start, stop).count == stop - start

    def done_by(self, start: int, stop: int) -> Mapping[int, Spans]:
        return {1: Spans([(start, stop)])}

    @property
    def wait(self) -> float | None:
        return self.to.timing.look if self.to.now <= self.done[-1][0] else None


def chain(first: list[Fate], second: list[Fate], rows: int = 4000) -> tuple[World, World]:
    """Two runs of so many samples, of which the second overlaps with the first."""
    before, workers = World(rows, len(first)), len({fate.worker for fate in second})
    before.run(first)
    after = World(rows, workers, ranges=min(32 * workers, rows // 10))
    after.inflow = SeenInflow(before, after)
    after.run(second)
    return before, after


def test_a_chain_takes_hardly_longer_than_one_of_its_runs() -> None:
    """4000 samples, of which either run does 40 a second: 100 s for each, 20 s of set-up, 10 s to a beat."""
    second = [Fate(n, 20.0) for n in range(2)]
    before, after = chain([Fate(n, 10.0) for n in range(4)], second)
    alone = World(4000, 2)
    alone.run(second)
    assert after.closed.count == 4000
    assert set(after.completed.values()) == {1}
    assert after.finished < before.finished + 10 + 20 + 5
    assert after.finished < 0.65 * (before.finished + alone.finished)


def test_the_slower_run_loses_nothing_by_waiting() -> None:
    """The second takes 200 s for all of them, and begins to when the first beat has told of some."""
    before, after = chain([Fate(n, 20.0) for n in range(4)], [Fate(0, 20.0)])
    assert after.closed.count == 4000
    assert before.finished < 80
    assert after.finished < 30 + 20 + 200 + 5


def test_all_is_done_although_one_that_takes_them_dies() -> None:
    dying = [Fate(0, 20.0, dies=60.0), Fate(1, 20.0)]
    _, after = chain([Fate(n, 10.0) for n in range(4)], dying)
    assert after.closed.count == 4000
