"""A Claimer on real files: claims, journals of other attempts, processes that die. Time is only that of its clock."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.machine.process_identity import ProcessIdentity
from jobs.machine.running_time import RunningTime
from jobs.node.supervisor.claimer import Claimer
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission
from tests.support.builders import AttemptWriter, build_plan, submit

ME = "0001-00000-00000000"
ROWS = 1000
WAITS = (0.1, 1.0)


class Clock:
    """Goes on only when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Two shards, and a submission of both to two workers."""
    run = build_plan(tmp_path / "run", (0, 500, ROWS), batch_size=10)
    submit(run, tasks=2, claims=True, node=NodeSettings(sync_interval=10.0))
    return run


@pytest.fixture
def other(run: RunDir) -> Iterator[AttemptWriter]:
    """Worker 1, which has claimed its range."""
    with AttemptWriter(run, worker=1) as writer:
        claim(run, 1, 1, writer, 500, ROWS)
        yield writer


def claim(run: RunDir, range_: int, number: int, writer: AttemptWriter, start: int, stop: int) -> None:
    assert ClaimFolder(run.claims(1)).take(Claim(range_, number, writer.name, start, stop))
    writer.hold(start, stop, range_, number)


def claimer(run: RunDir, worker: int = 0, name: str = ME, clock: Callable[[], float] | None = None) -> Claimer:
    submission = Submission.read(run.submission(1))
    return Claimer(run, Plan.read(run.plan), submission, worker, name, clock=clock or Clock())


@pytest.mark.parametrize(("tasks", "seconds"), [(2, 1.0), (1000, 1.0), (5000, 5.0)])
def test_all_workers_together_look_at_most_a_thousand_times_a_second(
    tmp_path: Path, tasks: int, seconds: float
) -> None:
    run = build_plan(tmp_path / "run", range(tasks + 1), batch_size=1)
    assert claimer(run).look == seconds


def beat(writer: AttemptWriter, done: str = "", *, begun: int = 500, rate: float = 1.0, **more: Any) -> None:
    writer.beat(Spans.parse(done), begun=begun, rate=rate, **more)


def end(writer: AttemptWriter, reason: EndReason, kind: FailureKind | None = None, done: str = "") -> None:
    writer.beat(Spans.parse(done), end=reason, kind=kind)


def process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


# --- own and unclaimed ranges


def test_own_ranges_come_first_then_those_of_nobody_and_each_is_claimed_once(run: RunDir) -> None:
    mine, late = claimer(run), claimer(run, 1, "0001-00001-11111111")
    assert mine.next(0.0, 0.0) == Claim(0, 1, ME, 0, 500)
    assert mine.next(1.0, 0.0) == Claim(1, 1, ME, 500, 1000)
    assert late.next(0.0, 0.0) in WAITS  # nothing is known of the other: it has no journal yet
    assert [one.attempt for one in ClaimFolder(run.claims(1)).read()] == [ME, ME]


def test_of_several_own_ranges_one_comes_after_the_other(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 500, ROWS), batch_size=10)
    submit(run, tasks=2, rows=Spans([(0, 100), (200, 300), (400, 500), (600, 700)]), claims=True)
    mine = claimer(run)
    first, second = mine.next(0.0, 0.0), mine.next(1.0, 0.0)
    assert (first, second) == (Claim(0, 1, ME, 0, 100), Claim(2, 1, ME, 400, 500))
    third, fourth = mine.next(1.0, 0.0), mine.next(1.0, 0.0)
    assert {third, fourth} == {Claim(1, 1, ME, 200, 300), Claim(3, 1, ME, 600, 700)}


def test_no_claims_folder_no_work(run: RunDir) -> None:
    mine = claimer(run)
    own = mine.next(0.0, 0.0)
    assert isinstance(own, Claim)
    assert mine.taken_from(own) == own.stop
    for file in run.claims(1).iterdir():
        file.unlink()
    run.claims(1).rmdir()
    assert mine.taken_from(own) == own.start
    assert not mine.rows(own)
    assert mine.next(0.0, 0.0) is None


def test_rows_that_any_attempt_has_done_and_shards_given_up_are_left_out(run: RunDir, other: AttemptWriter) -> None:
    end(other, EndReason.STOPPED, done="500-599")
    mine = claimer(run)
    assert mine.next(0.0, 0.0) == Claim(0, 1, ME, 0, 500)
    with AttemptWriter(run, name=ME) as own:
        own.beat(Spans([(0, 500)]))
        taken = mine.next(1.0, 0.0)
    assert taken == Claim(1, 2, ME, 600, 1000)
    assert mine.rows(taken) == Spans([(600, 1000)])
    assert [attempt.name for attempt in mine.seen()] == [other.name]
    assert not mine.all_done()


# --- taking from others


def idle(run: RunDir, clock: Callable[[], float] | None = None) -> Claimer:
    """Worker 0, which has done its own range."""
    mine = claimer(run, clock=clock)
    own = mine.next(0.0, 0.0)
    assert isinstance(own, Claim)
    with AttemptWriter(run, name=ME) as writer:
        writer.beat(Spans([(own.start, own.stop)]))
    return mine


def test_half_is_taken_of_one_at_work_which_sees_it(run: RunDir, other: AttemptWriter) -> None:
    theirs = claimer(run, 1, other.name)
    held = Claim(1, 1, other.name, 500, ROWS)
    assert theirs.taken_from(held) == ROWS
    beat(other, "500-587", begun=588)
    assert idle(run).next(1.0, 0.0) == Claim(1, 2, ME, 800, 1000)
    assert theirs.taken_from(held) == 800
    assert theirs.rows(held) == Spans([(588, 800)])
    third = AttemptWriter(run, worker=5)
    claim(run, 1, 3, third, 900, 1000)
    assert theirs.taken_from(held) == 800
    claim(run, 1, 4, third, 700, 800)
    assert theirs.taken_from(held) == 700
    third.close()


def test_a_claim_that_is_not_written_yet_takes_nothing_and_is_looked_at_again(
    run: RunDir, other: AttemptWriter
) -> None:
    theirs, held = claimer(run, 1, other.name), Claim(1, 1, other.name, 500, ROWS)
    path = run.claims(1) / "000001.2"
    path.touch()
    assert theirs.taken_from(held) == ROWS
    beat(other)
    assert idle(run).next(1.0, 0.0) == Claim(1, 3, ME, 760, 1000)
    path.unlink()
    with AttemptWriter(run, worker=7) as late:
        claim(run, 1, 2, late, 600, 1000)
    assert theirs.taken_from(held) == 600


def test_an_attempt_that_ended_leaves_all(run: RunDir, other: AttemptWriter) -> None:
    end(other, EndReason.FAILED, FailureKind.ERROR, "500-529")
    assert idle(run).next(1.0, 0.0) == Claim(1, 2, ME, 530, 1000)


def test_a_process_that_died_on_this_machine_is_over_at_once(run: RunDir) -> None:
    with process() as alive:
        identity = ProcessIdentity.of(alive.pid)
        assert identity
        with AttemptWriter(run, worker=1, process=identity.to_json()) as writer:
            claim(run, 1, 1, writer, 500, ROWS)
            beat(writer, rate=0.0)
            mine = idle(run)
            assert mine.next(1.0, 0.0) in WAITS
            alive.kill()
            alive.wait()
            assert mine.next(1.0, 0.0) == Claim(1, 2, ME, 500, 1000)


def test_one_of_another_boot_may_be_another_machine_of_that_name(run: RunDir) -> None:
    elsewhere = {**ProcessIdentity.current().to_json(), "boot": "another", "pid": 1, "start": 1}
    with AttemptWriter(run, worker=1, process=elsewhere) as writer:
        claim(run, 1, 1, writer, 500, ROWS)
        beat(writer, rate=0.0)
        assert idle(run).next(1.0, 0.0) in WAITS


def test_who_is_silent_for_a_minute_of_our_time_and_six_looks_is_over(run: RunDir, other: AttemptWriter) -> None:
    beat(other, rate=0.0)
    clock = Clock()
    mine = idle(run, clock)
    for _ in range(5):
        assert mine.next(1.0, 0.0) in WAITS
    clock.now = 59.0
    assert mine.next(1.0, 0.0) in WAITS
    beat(other, rate=0.0)
    clock.now = 61.0
    assert mine.next(1.0, 0.0) in WAITS
    clock.now = 130.0
    for _ in range(4):
        assert mine.next(1.0, 0.0) in WAITS
    assert mine.next(1.0, 0.0) == Claim(1, 2, ME, 500, 1000)


def test_those_that_were_suspended_together_do_not_take_each_other_for_dead(
    run: RunDir, other: AttemptWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(other, rate=0.0)
    now = Clock()
    monkeypatch.setattr("jobs.machine.running_time.time", SimpleNamespace(monotonic=now))
    mine = idle(run, RunningTime().look)
    for _ in range(8):
        assert mine.next(1.0, 0.0) in WAITS
    now.now += 3600.0
    assert mine.next(1.0, 0.0) in WAITS
    beat(other, rate=0.0)
    assert mine.next(1.0, 0.0) in WAITS


def test_one_whose_journal_nobody_sees_is_silent_too(run: RunDir) -> None:
    assert ClaimFolder(run.claims(1)).take(Claim(1, 1, "0001-00001-lost", 500, ROWS))
    clock = Clock()
    mine = idle(run, clock)
    for clock.now in (0.0, 10.0, 20.0, 30.0, 40.0):
        assert mine.next(1.0, 0.0) in WAITS
    clock.now = 61.0
    assert mine.next(1.0, 0.0) == Claim(1, 2, ME, 500, 1000)


def test_who_is_always_beaten_to_it_waits(run: RunDir, other: AttemptWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    beat(other)
    mine, tried = idle(run), list[Claim]()
    with monkeypatch.context() as patch:
        patch.setattr(ClaimFolder, "take", lambda self, wish: tried.append(wish))
        assert mine.next(1.0, 0.0) == 1.0
    assert len(tried) == 4
    assert mine.next(1.0, 0.0) == tried[0]


def test_a_claim_that_was_lost_to_another_is_known_though_it_is_not_listed_yet(
    run: RunDir, other: AttemptWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(other)
    mine = idle(run)
    with AttemptWriter(run, worker=7) as quicker:
        claim(run, 1, 2, quicker, 900, 1000)
        beat(quicker, begun=900)
        monkeypatch.setattr(ClaimFolder, "names", lambda self: [(0, 1), (1, 1)])
        assert mine.next(1.0, 0.0) == Claim(1, 3, ME, 710, 900)


# --- waiting and leaving


def test_it_waits_for_a_beat_of_who_has_little_left_and_then_leaves(run: RunDir, other: AttemptWriter) -> None:
    beat(other, "500-979", begun=990)
    mine = idle(run)
    assert mine.next(1.0, 0.0) in WAITS
    assert mine.next(1.0, 0.0) in WAITS
    beat(other, "500-979", begun=990)
    assert mine.next(1.0, 0.0) is None
    assert not mine.all_done()
    beat(other, "500-999", begun=1000)
    assert mine.all_done()


def test_it_leaves_at_once_where_nothing_is_left(run: RunDir, other: AttemptWriter) -> None:
    beat(other, "500-999", begun=1000)
    assert idle(run).next(1.0, 0.0) is None


def test_it_is_too_late_once_others_have_begun_its_ranges_and_done_all(run: RunDir, other: AttemptWriter) -> None:
    def is_too_late(worker: int) -> bool:
        return claimer(run, worker).is_too_late()

    beat(other, "500-999", begun=1000)
    assert not is_too_late(0)  # nobody has begun its own range
    assert not is_too_late(1)
    claim(run, 0, 1, other, 0, 500)
    assert not is_too_late(0)
    beat(other, "0-499,500-999", begun=500)
    assert is_too_late(0)
    assert is_too_late(1)


def test_it_stays_while_it_is_not_known_how_fast_the_other_is_but_not_for_ever(
    run: RunDir, other: AttemptWriter
) -> None:
    clock = Clock()
    mine = idle(run, clock)
    for clock.now in range(0, 301, 10):
        beat(other, rate=0.0)
        assert mine.next(1.0, 0.0) in WAITS
    clock.now = 301
    assert mine.next(1.0, 0.0) is None


def test_nobody_takes_over_a_shard_that_was_given_up(run: RunDir, other: AttemptWriter) -> None:
    other.give_up(1)
    end(other, EndReason.FAILED, FailureKind.ERROR)
    mine = idle(run)
    assert mine.next(1.0, 0.0) is None
    assert mine.all_done()


def test_work_that_kills_is_left_to_the_next_submission(run: RunDir) -> None:
    for number in (1, 2, 3):
        with AttemptWriter(run, worker=number) as writer:
            claim(run, 1, number, writer, 500, ROWS)
            end(writer, EndReason.FAILED, FailureKind.CRASH)
    mine = idle(run)
    assert mine.next(1.0, 0.0) is None
    assert not mine.all_done()


@pytest.fixture
def many(tmp_path: Path) -> RunDir:
    """A submission of 400 rows to 40 workers, a range each."""
    run = build_plan(tmp_path / "run", (0, 400), batch_size=10)
    submission = submit(run, claims=True)
    ranges = tuple((start, start + 10) for start in range(0, 400, 10))
    Submission(1, "local", 0.0, 40, submission.rows, ranges, submission.node).write(run.submission(1))
    return run


def test_of_many_it_looks_at_some_and_at_all_before_it_leaves(many: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for worker in range(1, 40):
        with AttemptWriter(many, worker=worker) as writer:
            claim(many, worker, 1, writer, 10 * worker, 10 * worker + 10)
            end(writer, EndReason.DONE, done=f"{10 * worker}-{10 * worker + 9}")
    mine = idle(many)
    claims: set[int] = set()
    read = ClaimFolder.read_one

    def noted(folder: ClaimFolder, range_: int, number: int) -> Claim | None:
        claims.add(range_)
        return read(folder, range_, number)

    monkeypatch.setattr(ClaimFolder, "read_one", noted)
    seen = []
    while mine.next(1.0, 0.0) is not None:
        seen.append((len(mine.seen()), len(claims)))
    assert seen == [(16, 16), (32, 32)]
    assert mine.all_done()


def test_where_somebody_works_few_are_asked_whether_all_is_done(many: RunDir) -> None:
    for worker in range(1, 40):
        with AttemptWriter(many, worker=worker) as writer:
            claim(many, worker, 1, writer, 10 * worker, 10 * worker + 10)
            writer.beat(begun=10 * worker)
    mine = idle(many)
    assert not mine.all_done()
    assert len(mine.seen()) == 16


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_range_whose_claim_was_never_written_is_claimed_by_another(run: RunDir, content: bytes) -> None:
    (run.claims(1) / "000001.1").write_bytes(content)  # whoever made it died before it wrote it
    clock = Clock()
    mine = idle(run, clock)
    assert mine.next(1.0, 0.0) in WAITS
    clock.now = 6.0
    assert mine.next(1.0, 0.0) == Claim(1, 2, ME, 500, ROWS)
