"""Status: what a run directory says of a run, also while it is written, damaged, or left behind by something killed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind, SampleFailureKind, ShardState
from jobs.machine.process_identity import ProcessIdentity, host_name
from jobs.storage.journal import Journal
from jobs.storage.plans import Resources, Submission
from jobs.storage.records import AttemptEnd, AttemptStart, Commit, FailedSample, Record, Retry
from jobs.storage.rundir import RunDir
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome, update
from launcher.status.progress import LineView, status_lines, summary_line
from launcher.status.status import Status, StatusReader
from tests.support.task_runs import make_run, write_submission


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """4 shards of 25 rows, submitted by a process that is gone."""
    run = make_run(tmp_path / "run", "Toy", 100, shards=4)
    own(run, dead_process())
    return run


def dead_process() -> ProcessIdentity:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(child.pid)
    child.communicate()
    assert identity is not None
    return identity


def own(run: RunDir, owner: ProcessIdentity, number: int = 1) -> None:
    update(run, Submission.read(run.submission(number)), process=owner.to_json())


def start(submission: int = 1, **values: object) -> AttemptStart:
    record = AttemptStart(attempt=1, submission=submission, time=time.time() - 10, host=host_name(), pid=1)
    return replace(record, **values)  # type: ignore[arg-type]


def commit(first: int, stop: int, *failed: FailedSample) -> Commit:
    return Commit(first, stop, {"y": "0"}, failed=failed)


def end(reason: EndReason, ok: int, failed: int = 0, kind: FailureKind | None = None, message: str = "") -> AttemptEnd:
    return AttemptEnd(reason, time.time(), ok, failed, kind, message, seconds=10.0, committed=ok + failed)


def write(run: RunDir, shard: int, *records: Record, done: bool = False) -> None:
    with Journal(run.journal(shard)) as journal:
        journal.append(records)
    if done:
        run.shard_done(shard).touch()


def read(run: RunDir) -> Status:
    return StatusReader(run).read()


def finish_all(run: RunDir) -> None:
    for shard in range(4):
        write(run, shard, start(), commit(25 * shard, 25 * shard + 25), end(EndReason.DONE, 25), done=True)


def test_a_planned_run_has_everything_pending(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 100, shards=4)
    run.submission(1).unlink()
    status = read(run)
    assert (status.state, status.missing, status.count(ShardState.PENDING)) == ("planned", 100, 4)
    assert status.rate is None
    assert status.eta is None


def test_the_json_has_the_documented_keys(run: RunDir) -> None:
    write(run, 0, start(), end(EndReason.FAILED, 0, kind=FailureKind.ERROR, message="no model"))
    found = json.loads(json.dumps(read(run).to_json()))
    failures = found.pop("failures")
    documented = {
        "schema": 1,
        "run": str(run.path),
        "state": "failed",
        "samples": {"total": 100, "ok": 0, "failed": 0, "missing": 100},
        "shards": {"total": 4, "done": 0, "running": 0, "pending": 3, "failed": 1},
        "samples_per_second": 0.0,
        "eta_seconds": None,
        "submissions": [{"number": 1, "job_id": None, "shards": 4}],
        "scheduler_calls": 0,
    }
    assert {key: found[key] for key in documented} == documented
    (failure,) = failures
    advice = failure.pop("advice")
    assert failure == {"kind": "ERROR", "message": "no model", "shards": [0], "samples": 0, "blame": "job"}
    assert "launcher rerun" in advice


def test_a_run_is_complete_once_all_is_done_and_gathered(run: RunDir) -> None:
    finish_all(run)
    assert read(run).state == "incomplete"
    assert "launcher gather" in status_lines(read(run))[-1]
    run.result.touch()
    assert read(run).state == "complete"
    assert str(run.result) in status_lines(read(run))[-1]


def test_a_result_from_before_the_last_shard_is_no_complete_run(run: RunDir) -> None:
    finish_all(run)
    run.result.touch()
    os.utime(run.result, (time.time() - 60, time.time() - 60))
    assert read(run).state == "incomplete"


def test_a_result_elsewhere_counts(run: RunDir, tmp_path: Path) -> None:
    finish_all(run)
    update(run, Submission.read(run.submission(1)), resources=Resources(output=str(tmp_path / "other.h5")))
    assert read(run).state == "incomplete"
    (tmp_path / "other.h5").touch()
    assert read(run).state == "complete"


def test_an_attempt_that_holds_its_journal_runs(run: RunDir) -> None:
    journal = Journal(run.journal(0))
    journal.append([start(), commit(0, 16)])
    status = read(run)
    assert (status.count(ShardState.RUNNING), status.ok) == (1, 16)
    journal.close()
    status = read(run)
    assert (status.count(ShardState.RUNNING), status.count(ShardState.FAILED)) == (0, 1)
    assert status.groups[0].kind == "LOST"


def test_the_executors_record_says_why_an_attempt_left_no_trace(run: RunDir) -> None:
    write(run, 0, start(), commit(0, 16))
    Outcome(time.time(), failures={0: Failure(FailureKind.CRASH, "killed by SIGKILL", 0)}).write(run, 1)
    assert [(g.kind, g.message) for g in read(run).groups] == [("CRASH", "killed by SIGKILL")]


def test_a_task_that_never_began_is_known_from_the_executors_record(run: RunDir) -> None:
    Outcome(time.time(), failures={2: Failure(FailureKind.LAUNCH, "no python", 2)}).write(run, 1)
    status = read(run)
    assert (status.state, status.shards[2].state, status.count(ShardState.PENDING)) == ("failed", "failed", 3)


def test_a_run_of_an_executor_that_only_another_version_has_can_be_looked_at(run: RunDir) -> None:
    update(run, Submission.read(run.submission(1)), executor="of_tomorrow", process=None)
    write(run, 0, start(), commit(0, 16))
    write(run, 1, start(), end(EndReason.FAILED, 0, kind=FailureKind.ERROR, message="no model"))
    status = read(run)
    assert status.count(ShardState.FAILED) == 1
    assert any("launcher rerun" in line for line in status_lines(status))


def test_a_stopped_attempt_is_pending_again(run: RunDir) -> None:
    write(run, 0, start(), commit(0, 16), end(EndReason.STOPPED, 16))
    status = read(run)
    assert (status.state, status.shards[0].state, status.ok) == ("incomplete", "pending", 16)


def test_a_cancelled_run_says_so(run: RunDir) -> None:
    write(run, 0, start(), end(EndReason.STOPPED, 0))
    Outcome(time.time(), cancelled=True).write(run, 1)
    assert read(run).state == "cancelled"


def test_a_run_goes_on_while_its_executor_lives(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    status = read(run)
    assert (status.state, status.count(ShardState.PENDING), status.is_abandoned) == ("running", 4, False)


def test_a_run_whose_executor_was_killed_is_not_running(run: RunDir) -> None:
    status = read(run)
    assert (status.state, status.is_abandoned) == ("incomplete", True)
    assert any("without a word" in line for line in status_lines(status))


def test_a_pid_that_another_process_got_later_is_not_the_executor(run: RunDir) -> None:
    own(run, replace(ProcessIdentity.current(), start=1))
    assert read(run).state == "incomplete"


def test_an_executor_on_another_machine_counts_as_long_as_it_shows_life(run: RunDir) -> None:
    own(run, replace(ProcessIdentity.current(), host="elsewhere"))
    write(run, 0, start(host="elsewhere"))
    status = read(run)
    assert (status.state, status.count(ShardState.RUNNING)) == ("running", 1)
    os.utime(run.submission(1), (time.time() - 3600, time.time() - 3600))
    assert read(run).state == "failed"


def test_an_old_failure_is_forgotten_once_the_shard_is_submitted_again(run: RunDir) -> None:
    write(run, 0, start(), end(EndReason.FAILED, 0, kind=FailureKind.ERROR, message="no model"))
    write_submission(run, [(0,)], number=2)
    own(run, ProcessIdentity.current(), number=2)
    status = read(run)
    assert (status.state, status.shards[0].state, status.groups) == ("running", "pending", ())


def test_failed_samples_are_grouped_over_shards(run: RunDir) -> None:
    bad = [FailedSample(row, SampleFailureKind.LOAD, f"bad file /data/{row}.jpg") for row in (3, 4, 30)]
    write(run, 0, start(), commit(0, 25, *bad[:2]), end(EndReason.DONE, 23, 2), done=True)
    write(run, 1, start(), commit(25, 41, bad[2]), end(EndReason.STOPPED, 15, 1))
    (found,) = read(run).groups
    assert (found.kind, found.shards, found.samples, found.message) == ("LOAD", (0, 1), 3, "bad file /data/3.jpg")
    assert read(run).failed == 3


def test_samples_that_were_tried_again_do_not_count_as_failed(run: RunDir) -> None:
    write(run, 0, start(), commit(0, 16, FailedSample(3, SampleFailureKind.LOAD, "bad")), end(EndReason.STOPPED, 15, 1))
    write(run, 0, Retry(time.time()), start(), commit(0, 16), end(EndReason.STOPPED, 16))
    status = read(run)
    assert (status.ok, status.failed, status.groups) == (16, 0, ())


def test_a_done_shard_without_a_journal_failed(run: RunDir) -> None:
    run.shard_done(0).touch()
    status = read(run)
    assert (status.shards[0].state, status.groups[0].kind) == ("failed", "LOST")


def test_torn_and_damaged_lines_count_for_nothing(run: RunDir) -> None:
    write(run, 0, start(), commit(0, 8), commit(8, 16))
    data = run.journal(0).read_bytes()
    run.journal(0).write_bytes(data[:-20])
    assert read(run).ok == 8
    run.journal(0).write_bytes(data.replace(b'"stop":16', b'"stop":17'))
    assert read(run).ok == 8


def test_a_reader_that_looks_again_sees_what_was_appended_since(run: RunDir) -> None:
    reader = StatusReader(run)
    journal = Journal(run.journal(0))
    journal.append([start(), commit(0, 8)])
    assert reader.read().ok == 8
    with run.journal(0).open("ab") as file:
        file.write(b"0123456789abcdef {")
    assert reader.read().ok == 8
    with run.journal(0).open("ab") as file:
        file.write(b"}\n")
    journal.append([commit(8, 16)])
    assert reader.read().ok == 16
    journal.append([commit(16, 25), end(EndReason.DONE, 25)])
    run.shard_done(0).touch()
    assert (reader.read().ok, reader.read().count(ShardState.DONE)) == (25, 1)


def test_the_rate_counts_what_this_submission_did(run: RunDir) -> None:
    write(run, 0, start(), commit(0, 16), end(EndReason.STOPPED, 16))
    write_submission(run, [(0,), (1,)], number=2)
    update(
        run, Submission.read(run.submission(2)), created=time.time() - 4, process=ProcessIdentity.current().to_json()
    )
    journal = Journal(run.journal(0))
    journal.append([start(submission=2, time=time.time() - 3), commit(16, 25)])
    status = read(run)
    assert status.rate
    assert status.rate == pytest.approx(9 / 3, rel=0.2)
    assert status.eta == pytest.approx(75 / status.rate)
    journal.close()


def test_the_view_for_pipes_prints_a_line_when_something_changed_and_not_too_often(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    own(run, ProcessIdentity.current())
    now = [0.0]
    view = LineView(sys.stdout, clock=lambda: now[0])
    first = read(run)
    view.show(first)
    view.show(replace(first, ok=1))
    now[0] = 6.0
    view.show(replace(first, ok=2))
    view.show(replace(first, ok=2))
    now[0] = 7.0
    view.show(replace(first, ok=3))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["running: 0", "running: 2"]


def test_the_line_names_rate_and_time_left(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    status = replace(read(run), ok=50, failed=1, rate=2.0, eta=3723.0)
    assert summary_line(status) == (
        "running: 51 of 100 samples (51%), 1 failed, shards 4 pending, 2.0 samples/s, 1:02:03 left"
    )
