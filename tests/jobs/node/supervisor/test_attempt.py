"""AttemptLog: what is durable when a beat says so; what an attempt says of itself; when it gives up shards."""

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.gather.commit_stream import CommitStream
from jobs.kinds import EndReason, FailureKind, SampleFailureKind
from jobs.node.messages import Allocate
from jobs.node.supervisor.attempt import AttemptLog
from jobs.node.supervisor.attempt_start import new_name
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.meter import Usage
from jobs.storage.attempts import Attempt, Attempts, read_commits, read_records
from jobs.storage.beats import Beat, Held
from jobs.storage.blocks import BlockWriter
from jobs.storage.claims import Claim
from jobs.storage.journal import decode
from jobs.storage.outputs import to_columns
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart, Block, Commit, DataFile, FailedSample, Layout, Output
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from tests.support.task_runs import make_run, write_submission

OUTPUTS = (Output("y", False, "<f8", ()),)
NONE_BEFORE: Callable[[], Iterable[Attempt]] = tuple


def made(
    run: RunDir, *, processes: int = 1, number: int = 1, others: Callable[[], Iterable[Attempt]] = NONE_BEFORE
) -> AttemptLog:
    submission = Submission.read(run.submission(number))
    log = AttemptLog(run, Plan.read(run.plan), submission, new_name(number, 0), others)
    log.begin(0, 0, ("cpu",) * processes, {})
    return log


def commit(start: int, stop: int, bad: Iterable[int] = (), *, file: int = 0, message: str = "gone") -> Commit:
    failed = tuple(FailedSample(row, SampleFailureKind.LOAD, message) for row in bad)
    blocks = () if len(failed) == stop - start else (Block(file, 0, 8 * (stop - start), "0" * 16),)
    return Commit(start, stop, blocks, failed)


def beat_of(run: RunDir, log: AttemptLog) -> Beat:
    (found,) = [attempt.beat for attempt in Attempts(run).read() if attempt.name == log.name]
    return found


def end(log: AttemptLog) -> None:
    log.end(EndReason.DONE, None, "", Usage())
    log.close()


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "run", "Toy", 100, shards=5, batch_size=10)


# --- files and order


def test_the_journal_says_first_who_it_is_and_what_its_files_are_called(run: RunDir) -> None:
    log = made(run, processes=2)
    start, *files = read_records(run.journal(log.name))
    assert isinstance(start, AttemptStart)
    assert (start.submission, start.index, start.worker, start.devices) == (1, 0, 0, ("cpu", "cpu"))
    assert start.process["pid"] == os.getpid()
    assert files == [DataFile(number, f"{log.name}.{number}.data") for number in (0, 1)]
    assert [run.data(log.name, number).exists() for number in (0, 1)] == [True, True]
    log.close()


def test_two_starts_of_one_worker_have_different_names() -> None:
    assert len({new_name(1, 5) for _ in range(100)}) == 100
    assert new_name(1, 5).startswith("0001-00005-")


class Recorder:
    """Notes in order what is written to the journal, and which files are synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self._write, self._sync = os.write, os.fdatasync
        self.failing: set[str] = set()
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fdatasync", self.sync)

    def write(self, descriptor: int, data: Any) -> int:
        records = [decode(line) for line in bytes(data).split(b"\n") if line]
        self.calls += [record.type if record else "?" for record in records]
        return self._write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).suffixes
        self.calls.append(f"sync {''.join(name)}")
        if self.calls[-1] in self.failing:
            raise OSError(errno.EIO, "Input/output error")
        self._sync(descriptor)


def test_data_go_to_disk_before_the_commits_and_these_before_the_beat(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = made(run, processes=3)
    recorder = Recorder(monkeypatch)
    log.commit([commit(0, 10), commit(10, 20, file=2)])
    log.beat()
    calls, recorder.calls = recorder.calls, []
    assert sorted(calls[1:3]) == ["sync .0.data", "sync .2.data"]
    assert [calls[0], *calls[3:]] == ["commits", "sync .journal", "beat", "sync .journal"]
    log.beat()
    assert recorder.calls == ["beat", "sync .journal"]
    log.close()


@pytest.mark.parametrize("failing", ["sync .0.data", "sync .journal"])
def test_after_a_sync_that_failed_no_beat_covers_more_than_before(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    log = made(run)
    log.commit([commit(0, 10)])
    log.beat()
    log.commit([commit(10, 20, bad=[11])])
    recorder = Recorder(monkeypatch)
    recorder.failing = {failing}
    with pytest.raises(OSError, match="Input/output"):
        log.beat()
    recorder.failing = set()
    log.end(EndReason.FAILED, FailureKind.DISK, "Input/output error", Usage(peak_memory=5))
    beat = beat_of(run, log)
    assert (beat.done, beat.ok, beat.failed) == (Spans([(0, 10)]), 10, 0)
    assert (beat.end, beat.kind, beat.peak_memory) == ("failed", "DISK", 5)
    log.close()


def test_a_last_beat_can_be_read_after_half_a_line(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a full disk leaves it."""
    log = made(run)
    write = os.write

    def half(descriptor: int, data: Any) -> int:
        if len(data) < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, bytes(data)[:30])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            log.commit([commit(0, 10)])
    log.end(EndReason.FAILED, FailureKind.DISK, "full", Usage())
    assert (beat_of(run, log).end, beat_of(run, log).done) == ("failed", Spans())
    log.close()


@given(st.lists(st.sampled_from(["commit", "beat", "sync fails"]), max_size=12), st.data())
@settings(max_examples=40, deadline=None)
def test_what_a_beat_covers_was_synced_before_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], data: st.DataObject
) -> None:
    run = make_run(tmp_path_factory.mktemp("attempt") / "run", "Toy", 200, batch_size=10)
    log = made(run)
    synced, row, is_broken = 0, 0, False
    with pytest.MonkeyPatch.context() as patch:
        recorder = Recorder(patch)
        for step in steps:
            if step == "commit":
                log.commit([commit(row, row + 10)])
                row += 10
                continue
            failing = data.draw(st.sampled_from(["sync .0.data", "sync .journal"])) if step == "sync fails" else ""
            recorder.failing = {failing}
            try:
                log.beat()
            except OSError:
                is_broken = True
                break
            synced = row
        recorder.failing = set()
        log.end(EndReason.STOPPED, None, "", Usage())
    beat = beat_of(run, log)
    assert beat.done == Spans([(0, synced if is_broken else row)])
    assert beat.done.count == beat.ok
    assert sorted(one.start for one in read_commits(Attempt(log.name, run.journal(log.name), None, beat))) == list(
        range(0, beat.done.count, 10)
    )
    log.close()


# --- beats


def test_beats_come_soon_after_the_start_and_then_every_interval_also_when_nothing_happens(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_submission(run, number=2, sync_interval=10.0)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = made(run, number=2)
    beats = []
    for _ in range(70):
        now[0] += 0.5
        before = log._beat.number
        log.beat_if_due()
        if log._beat.number > before:
            beats.append(now[0])
    assert beats == [1, 2, 4, 14, 24, 34]
    assert beat_of(run, log).number == 6
    log.close()


def test_a_beat_tells_how_the_attempt_stands(run: RunDir) -> None:
    log = made(run)
    size = run.journal(log.name).stat().st_size
    log.hold(Claim(3, 1, log.name, 0, 60), {})
    log.commit([commit(10, 20), commit(0, 10, bad=[3]), commit(40, 50)])
    log.begun = 70
    log.ready(setup=1.5)
    log.beat()
    beat = beat_of(run, log)
    assert beat.claims == (Held(3, 1, 0, 60, size),)
    assert (beat.done, beat.ok, beat.failed) == (Spans([(0, 20), (40, 50)]), 29, 1)
    assert (beat.begun, beat.setup, beat.end) == (70, 1.5, None)
    ((kind, message, samples, shards),) = [(g.kind, g.message, g.samples, str(g.shards)) for g in beat.failures]
    assert (kind, message, samples, shards) == ("LOAD", "gone", 1, "0")
    log.close()


def test_the_rate_is_that_of_the_work_not_of_the_waiting(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = made(run)
    log.hold(Claim(0, 1, log.name, 0, 50), {})
    now[0] += 30
    log.ready(setup=30)
    now[0] += 2
    log.commit([commit(0, 10)])
    log.beat()
    assert log.rate == 5.0
    now[0] += 500  # nothing to do
    log.hold(Claim(1, 1, log.name, 50, 100), {})
    now[0] += 1
    log.commit([commit(50, 60)])
    log.beat()
    assert 5.0 < log.rate < 10.0
    log.close()


# --- layout


def test_the_first_batch_of_a_run_decides_the_layout_for_all_attempts(run: RunDir) -> None:
    first, second = made(run), made(run)
    other = (Output("z", True, "<i4", (3,)),)
    assert first.allocate(Allocate(OUTPUTS)).layout == Layout(OUTPUTS)
    assert second.allocate(Allocate(other)).layout == Layout(OUTPUTS)
    assert first.allocate(Allocate(other)).layout == Layout(OUTPUTS)
    for log in (first, second):
        assert [record for record in read_records(run.journal(log.name)) if isinstance(record, Layout)] == [
            Layout(OUTPUTS)
        ]
        log.close()


def test_what_processes_append_is_what_commits_say(run: RunDir) -> None:
    log = made(run)
    writer = BlockWriter(run.data(log.name, 0), 0)
    columns = to_columns({"y": [1.0, 2.0]}, 2)
    blocks = writer.append(log.allocate(Allocate(OUTPUTS)).layout, columns)
    log.commit([Commit(0, 2, blocks)])
    end(log)
    (attempt,) = Attempts(run).read()
    assert [one.blocks for one in read_commits(attempt)] == [blocks]
    writer.close()


# --- failed samples


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """No shard is so small that it is finished first."""
    monkeypatch.setattr("jobs.node.supervisor.failure_budget._SMALL", 0)
    monkeypatch.setattr("jobs.node.supervisor.failure_budget._HOPELESS", 1)


@pytest.mark.usefixtures("early")
def test_a_shard_over_its_budget_is_given_up_once_and_its_rows_are_told(run: RunDir) -> None:
    write_submission(run, number=2, max_failed_samples=1)
    log = made(run, number=2)
    log.commit([commit(0, 10, bad=[1])])
    assert log.check([]) == Spans()
    assert log.check([12, 15]) == Spans([(0, 20)])
    assert log.check([12, 15]) == Spans()
    log.commit([commit(10, 20, bad=[12, 15])])
    assert log.check([]) == Spans()
    assert log.given_up == Spans([(0, 20)])
    log.beat()
    (given_up,) = beat_of(run, log).given_up
    assert (given_up.shard, given_up.kind) == (0, "TOO_MANY_FAILED_SAMPLES")
    assert given_up.message == "3 of 20 samples failed, 1 may (node.max_failed_samples); for example: gone"
    log.close()


@pytest.mark.usefixtures("early")
def test_the_budget_is_the_whole_shards_whoever_works_on_it(run: RunDir) -> None:
    write_submission(run, number=2, max_failed_samples=4, failed_before={0: 2})
    first = made(run, number=2)
    first.commit([commit(0, 10, bad=[1]), commit(20, 40, bad=[21])])
    assert first.check([]) == Spans()
    end(first)
    assert beat_of(run, first).shared == {0: 1}  # it has all of shard 1
    second = made(run, number=2, others=Attempts(run, 2).read)
    second.commit([commit(15, 18, bad=[15])])
    assert second.check([]) == Spans()
    second.commit([commit(18, 20, bad=[18])])
    assert second.check([]) == Spans([(0, 20)])
    second.close()


@pytest.mark.usefixtures("early")
def test_a_row_that_two_attempts_did_counts_once(run: RunDir) -> None:
    """Also where what the other one stored counts, and where a sample is only about to fail here."""
    write_submission(run, number=2, max_failed_samples=2)
    first = made(run, number=2)
    first.commit([commit(0, 10, bad=[1, 2])])
    end(first)
    second = made(run, number=2, others=Attempts(run, 2).read)
    second.commit([commit(0, 10, bad=[1, 2])])
    assert second.check([]) == Spans()
    assert second.check([2, 15]) == Spans([(0, 20)])
    assert "3 of 20 samples failed" in second._budget.given_up[0].message
    second.close()


def test_a_small_shard_is_not_given_up_and_tells_its_failed_samples_where_they_are_too_many(run: RunDir) -> None:
    """Those of others are done and settled: there may be as many as the run has shards."""
    write_submission(run, number=2, max_failed_samples=1)
    log = made(run, number=2)
    for start in range(0, 60, 10):
        log.commit([commit(start, start + 10, bad=[start] if start < 30 else [])])
        assert log.check([]) == Spans()
    log.beat()
    assert beat_of(run, log).shared == {0: 2}
    assert (log.given_up, set(log._budget._shards)) == (Spans(), {0})
    log.close()


def test_a_shard_in_which_all_of_many_samples_fail_is_given_up_however_small(run: RunDir) -> None:
    many = make_run(run.path.parent / "many", "Toy", 400, batch_size=25)
    log = made(many)
    log.commit([commit(0, 25, bad=range(25))])
    assert log.check([]) == Spans()
    log.commit([commit(25, 50, bad=range(25, 50))])
    assert log.check([]) == Spans([(0, 400)])
    assert [one.kind for one in log._budget.given_up.values()] == ["ERROR"]
    log.close()


@pytest.mark.usefixtures("early")
def test_a_shard_of_which_another_has_good_samples_is_no_error_of_the_job(run: RunDir) -> None:
    write_submission(run, number=2)
    first = made(run, number=2)
    first.commit([commit(0, 10)])
    end(first)
    second = made(run, number=2, others=Attempts(run, 2).read)
    second.commit([commit(10, 20, bad=range(10, 20)), commit(20, 30, bad=range(20, 30))])
    assert second.check([]) == Spans([(0, 40)])
    second.beat()
    assert [one.kind for one in beat_of(run, second).given_up] == ["TOO_MANY_FAILED_SAMPLES", "ERROR"]
    second.close()


@pytest.mark.usefixtures("early")
def test_of_very_many_shards_given_up_some_have_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.node.supervisor.failure_budget._EXAMPLES", 2)
    run = make_run(tmp_path / "run", "Toy", 100, shards=5, batch_size=10)
    log = made(run)
    for shard in range(4):
        log.commit([commit(20 * shard, 20 * shard + 10, range(20 * shard, 20 * shard + 2))])
        log.check(())
    end(log)

    examples = [one.message.rpartition("; for example: ")[2] for one in beat_of(run, log).given_up]
    assert examples == ["gone", "gone", "see the log", "see the log"]


@pytest.mark.usefixtures("early")
def test_three_shards_given_up_in_a_row_without_a_good_sample_end_the_attempt(run: RunDir) -> None:
    log = made(run)
    log.commit([commit(0, 10, bad=[1])])
    log.check([])
    log.commit([commit(20, 30, bad=range(20, 30))])
    log.check([])
    log.commit([commit(30, 40)])
    log.commit([commit(40, 50, bad=range(40, 50))])
    log.check([])
    log.commit([commit(60, 70, bad=range(60, 70))])
    assert log.check([]) == Spans([(60, 80)])
    log.commit([commit(80, 90, bad=range(80, 90), message="no such model")])
    with pytest.raises(AttemptFailed, match="every sample so far failed: no such model") as failed:
        log.check([])
    assert failed.value.kind == "ERROR"
    log.close()


@pytest.mark.usefixtures("early")
def test_a_message_is_cut_where_every_beat_would_repeat_it(run: RunDir) -> None:
    log = made(run)
    log.commit([commit(0, 10, bad=range(10), message="x" * 10_000)])
    log.check([])
    log.beat()
    assert len(beat_of(run, log).given_up[0].message) == 500
    log.close()


def test_beats_repeat_a_limited_number_of_claims_and_all_commits_are_found(run: RunDir) -> None:
    log, order = made(run), [row * 37 % 100 for row in range(100)]
    for row in order:
        log.hold(Claim(0, 1, log.name, row, row + 1), {})
        log.commit([commit(row, row + 1)])
        log.beat()
    beat = beat_of(run, log)
    assert [(held.start, held.stop) for held in beat.claims] == [(order[-1], order[-1] + 1)]
    assert len(beat.passages) <= 64
    (attempt,) = Attempts(run).read()
    stream = CommitStream(attempt.journal, beat.all_passages, beat.done)
    assert [found.start for row in range(100) if (found := stream.take(row))] == list(range(100))
    log.close()
