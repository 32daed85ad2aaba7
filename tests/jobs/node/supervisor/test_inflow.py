"""Which samples of a run that goes on are there, by whom they were done, and when nothing more is to be expected."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.errors import RunError
from jobs.gather.upstream_rows import UpstreamRows, find
from jobs.kinds import EndReason
from jobs.node.supervisor import inflow
from jobs.node.supervisor.inflow import PATIENCE, Inflow
from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.upstreams import Upstream
from tests.support.builders import AttemptWriter, change_plan, submit
from tests.support.overlaps import (
    PARTS,
    ROWS,
    Clock,
    build_downstream,
    build_upstream,
    do,
    end_submission,
    reading_takes_no_time,
    take,
    upstream_of,
)

LOOK = 1.0


@pytest.fixture(autouse=True)
def looks_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reading_takes_no_time(monkeypatch)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return build_upstream(tmp_path)


def watch(run: RunDir, clock: Clock, manifest: str | None = None) -> Inflow:
    return Inflow(upstream_of(run, manifest), LOOK, clock)


def later(clock: Clock, seconds: float = LOOK) -> None:
    clock.now += seconds


# --- what is there


def test_rows_are_there_once_a_beat_says_so(run: RunDir, clock: Clock) -> None:
    found = watch(run, clock)
    with AttemptWriter(run) as writer:
        writer.commit_all(Spans([(0, 8)]))
        assert not found.has(0, 8)
        later(clock)
        assert not found.has(0, 8)
        writer.beat()
        later(clock)
        assert found.has(0, 8)
        assert found.has(2, 3)
        assert not found.has(4, 12)


def test_it_is_asked_no_more_often_than_it_may(run: RunDir, clock: Clock) -> None:
    found = watch(run, clock)
    assert not found.has(0, 4)
    do(run, "0-7")
    later(clock, LOOK / 2)
    assert not found.has(0, 4)
    later(clock, LOOK / 2)
    assert found.has(0, 4)
    do(run, "8-11", worker=1)
    assert found.has(4, 8)  # what is known is not asked for
    assert not found.has(8, 12)


def test_and_less_often_where_a_look_takes_long(run: RunDir, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    found = watch(run, clock)
    monkeypatch.setattr(inflow, "time", SimpleNamespace(monotonic=iter([0.0, 3.0, 100.0, 100.0]).__next__))
    assert not found.has(0, 4)
    do(run, "0-7")
    later(clock, 59.0)
    assert not found.has(0, 4)
    assert found.wait == 1.0
    later(clock)
    assert found.has(0, 4)


def test_rows_of_one_of_several_manifests_are_counted_from_its_first(tmp_path: Path, clock: Clock) -> None:
    run = build_upstream(tmp_path, parts=PARTS)
    first, second = watch(run, clock, "train"), watch(run, clock, "test")
    do(run, "20-31")
    assert first.has(20, 24)
    assert not first.has(0, 4)
    assert second.has(0, 8)
    assert not second.has(0, 12)
    assert not second.has(20, 24)
    assert second.done_by(0, 40) == {1: Spans([(0, 8)])}


# --- by whom it was done


def test_at_the_first_look_the_newest_submission_is_noted(run: RunDir, clock: Clock) -> None:
    do(run, "0-15")
    do(run, "8-11", submission=2)
    found = watch(run, clock)
    assert found.has(0, 16)
    assert found.done_by(4, 12) == {1: Spans([(4, 8)]), 2: Spans([(8, 12)])}
    assert found.done_by(20, 24) == {}


def test_afterwards_the_first_that_was_seen_stays(run: RunDir, clock: Clock) -> None:
    do(run, "0-15")
    found = watch(run, clock)
    assert found.has(0, 16)
    do(run, "8-19", submission=2)
    later(clock)
    assert found.has(16, 20)
    assert found.done_by(0, 20) == {1: Spans([(0, 16)]), 2: Spans([(16, 20)])}


def test_what_was_read_of_an_earlier_submission_is_never_noted_as_a_later_ones(
    tmp_path: Path, run: RunDir, clock: Clock
) -> None:
    """A pool worker looked between two looks of its supervisor, in which two submissions did a row; the first one failed."""
    do(run, "0-3")
    found = watch(run, clock)
    assert found.has(0, 4)
    do(run, "4-7", worker=1, bad="5")
    worker = UpstreamRows(upstream_of(run))
    assert find(upstream_of(run)).has(4, 8)
    assert worker.names == ("label",)
    submit(run, 2, rows=Spans([(4, 8)]))
    do(run, "4-7", submission=2)
    later(clock)
    assert found.has(8, 12) is False
    assert found.done_by(4, 8) == {1: Spans([(4, 8)])}
    second = build_downstream(tmp_path, upstream_of(run))
    take(second, "4-7")
    upstream = Upstream.of(Plan.read(second.plan))
    assert upstream
    assert upstream.stale(second) == Spans([(4, 8)])


# --- when nothing more comes


def test_it_is_waited_for_until_all_submissions_have_ended(run: RunDir, clock: Clock) -> None:
    found = watch(run, clock)
    submit(run, 2, rows=Spans([(0, 24)]))
    assert not found.has(0, 4)
    assert found.wait == LOOK
    end_submission(run, 1)
    later(clock)
    assert not found.has(0, 4)
    assert found.wait == LOOK
    end_submission(run, 2)
    later(clock)
    assert not found.has(0, 4)
    assert found.wait is None


def test_of_its_end_nothing_is_known_before_its_last_beats_are(run: RunDir, clock: Clock) -> None:
    found = watch(run, clock)
    assert not found.has(0, 4)
    writer = do(run, "0-7")
    writer.end()
    end_submission(run)
    assert found.wait == LOOK
    later(clock)
    assert found.has(0, 4)
    assert found.wait is None


def test_the_last_words_of_attempts_are_waited_for_a_while_where_a_submission_ends_first(
    run: RunDir, clock: Clock
) -> None:
    """As one that is cancelled does, or whose node has died."""
    writer = do(run, "0-3")
    end_submission(run)
    found = watch(run, clock)
    assert not found.has(0, 8)
    assert found.wait == LOOK
    writer.commit(4, 8)
    writer.end()
    later(clock)
    assert found.has(0, 8)
    assert found.wait is None


def test_but_not_for_long(run: RunDir, clock: Clock) -> None:
    do(run, "0-3")
    end_submission(run)
    found = watch(run, clock)
    assert not found.has(0, 8)
    later(clock, 60.0)
    assert not found.has(0, 8)
    assert found.wait is None


def test_one_that_goes_on_again_is_waited_for_again(run: RunDir, clock: Clock) -> None:
    end_submission(run)
    found = watch(run, clock)
    assert not found.has(0, 4)
    assert found.wait is None
    submit(run, 2)
    later(clock)
    assert not found.has(0, 4)
    assert found.wait == LOOK


def test_a_submission_that_is_made_while_the_one_before_ends_is_seen(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, then the outcomes are looked for: in between came the next one, and the first one's outcome."""
    known, upstream = RunDir.submission_numbers, upstream_of(run)
    assert not upstream.has_ended

    def listed(self: RunDir) -> list[int]:
        found = known(self)
        if len(found) == 1:
            submit(run, 2)
            end_submission(run, 1)
        return found

    monkeypatch.setattr(RunDir, "submission_numbers", listed)
    assert not upstream.has_ended


def test_one_that_has_been_silent_for_long_is_not_waited_for(run: RunDir, clock: Clock) -> None:
    writer = do(run, "0-3")
    found = watch(run, clock)
    assert not found.has(0, 8)
    later(clock, PATIENCE)
    writer.beat()
    assert not found.has(0, 8)
    later(clock, PATIENCE)
    assert not found.has(0, 8)
    assert found.wait == LOOK
    later(clock, 1)
    assert not found.has(0, 8)
    assert found.wait is None
    writer.beat()
    later(clock)
    assert not found.has(0, 8)
    assert found.wait == LOOK


def test_whoever_had_work_for_long_asks_before_it_thinks_so(run: RunDir, clock: Clock) -> None:
    writer = do(run, "0-3")
    found = watch(run, clock)
    assert found.has(0, 4)
    later(clock, 10 * PATIENCE)
    writer.beat()
    assert not found.has(4, 8)
    assert found.wait == LOOK


# --- another run


def planned_anew(run: RunDir) -> None:
    change_plan(run, created=Plan.read(run.plan).created + 1)


def grown(run: RunDir) -> None:
    change_plan(run, rows=ROWS + 4, boundaries=(0, 24, ROWS, ROWS + 4))


def cleaned(run: RunDir) -> None:
    run.cleaned.touch()


def gone(run: RunDir) -> None:
    shutil.rmtree(run.path)


@pytest.mark.parametrize(
    ("becomes", "says"),
    [
        (planned_anew, "run first was computed again since this run was planned"),
        (grown, "run first was computed again since this run was planned"),
        (cleaned, "run first was cleaned"),
        (gone, "run first is gone"),
    ],
)
def test_one_that_is_not_what_it_was_is_refused(
    run: RunDir, clock: Clock, becomes: Callable[[RunDir], None], says: str
) -> None:
    do(run, "0-3").end(EndReason.DONE)
    found = watch(run, clock)
    assert found.has(0, 4)
    becomes(run)
    later(clock)
    assert found.has(0, 4)  # of what is known nothing is asked
    with pytest.raises(RunError, match=says):
        found.has(4, 8)


def test_a_folder_that_cannot_be_read_for_a_moment_is_waited_for(
    run: RunDir, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(run, "0-7")
    flow = watch(run, clock)
    with monkeypatch.context() as patch:
        patch.setattr(Attempts, "read", raising(OSError(errno.EIO, "Input/output error")))
        assert not flow.has(0, 8)
        assert flow.wait == LOOK
        later(clock, PATIENCE)
        assert not flow.has(0, 8)
    later(clock)
    assert flow.has(0, 8)


def test_one_that_cannot_be_read_for_long_is_told(run: RunDir, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = watch(run, clock)
    monkeypatch.setattr(Attempts, "read", raising(OSError(errno.EIO, "Input/output error")))
    assert not flow.has(0, 8)
    later(clock, PATIENCE + 1)
    with pytest.raises(OSError, match="Input/output error"):
        flow.has(0, 8)


def raising(error: OSError) -> Callable[..., None]:
    def raise_it(*arguments: object) -> None:
        raise error

    return raise_it
