"""Status: what a run directory says of a run, also while it is written, damaged, or left behind by something killed."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from jobs.kinds import EndReason, FailureKind, ShardState
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Range, Spans
from jobs.storage.submission import NodeSettings, Submission
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome, update
from launcher.status.pace import Pace, blocks
from launcher.status.progress import brief_line, status_lines, summary_line
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.status.views import LineView, TerminalView, make_view, screen_lines
from tests.support.builders import (
    ELSEWHERE,
    AttemptWriter,
    build_plan,
    change_plan,
    submit,
    write_shard,
    write_stub_result,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """4 shards of 25 rows in batches of 16, submitted by a process that is gone."""
    run = build_plan(tmp_path / "run", (0, 25, 50, 75, 100), batch_size=16)
    own(run, dead_process())
    return run


@cache
def dead_process() -> ProcessIdentity:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(child.pid)
    child.communicate()
    assert identity is not None
    return identity


def own(run: RunDir, owner: ProcessIdentity, number: int = 1) -> None:
    update(run, Submission.read(run.submission(number)), process=owner.to_json())


HERE = ProcessIdentity.current().to_json()


def attempt(
    run: RunDir, submission: int = 1, worker: int = 0, *, process: Any = None, age: float = 10
) -> AttemptWriter:
    """Of a process that is gone, unless another one is given."""
    gone = process or dead_process().to_json()
    return AttemptWriter(run, submission, worker, process=gone, began=time.time() - age)


def write(
    run: RunDir,
    shard: int,
    *batches: Range,
    end: EndReason | None = None,
    kind: FailureKind | None = None,
    message: str = "",
    bad: Iterable[int] = (),
    **options: Any,
) -> None:
    """An attempt that has a shard, and has done these batches of it."""
    with attempt(run, worker=shard, **options) as writer:
        writer.hold(25 * shard, 25 * shard + 25, range_=shard)
        for start, stop in batches:
            writer.commit(start, stop, bad=set(bad) & set(range(start, stop)))
        writer.beat(end=end, kind=kind, message=message, seconds=10.0, cpus=1, begun=25 * shard + 16)


def both(shard: int) -> Sequence[Range]:
    """The batches of a shard."""
    return (25 * shard, 25 * shard + 16), (25 * shard + 16, 25 * shard + 25)


def read(run: RunDir) -> Status:
    return StatusReader(run).read()


def finish_all(run: RunDir) -> None:
    for shard in range(4):
        write(run, shard, *both(shard), end=EndReason.DONE)


def test_a_planned_run_has_everything_pending(run: RunDir) -> None:
    run.submission(1).unlink()
    status = read(run)
    assert (status.state, status.missing, status.count(ShardState.PENDING)) == ("planned", 100, 4)
    assert status.rate is None
    assert status.eta is None


def test_the_json_has_the_documented_keys(run: RunDir) -> None:
    write(run, 0, end=EndReason.FAILED, kind=FailureKind.ERROR, message="no model")
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
        "attempts": 1,
        "silent": [],
    }
    assert {key: found[key] for key in documented} == documented
    (failure,) = failures
    advice = failure.pop("advice")
    assert failure == {"kind": "ERROR", "message": "no model", "shards": [0], "samples": 0, "blame": "job"}
    assert "launcher rerun" in advice


def test_samples_in_flight_and_what_the_job_counts_are_told(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    for worker, process in ((0, HERE), (1, dead_process().to_json())):
        with attempt(run, worker=worker, process=process, age=1000) as writer:
            writer.hold(25 * worker, 25 * worker + 25, range_=worker)
            writer.commit(25 * worker, 25 * worker + 16)
            writer.beat(in_flight=8, counts={"tokens": 600}, begun=25 * worker + 16)
    status = read(run)
    document = status.to_json()
    assert document["samples_in_flight"] == 8, "of those that are alive"
    assert document["counts"]["tokens"]["total"] == 1200
    assert document["counts"]["tokens"]["per_second"] == pytest.approx(1.2, rel=0.2)
    assert " tokens/s, 8 in flight, " in summary_line(status)
    write(run, 2, *both(2), end=EndReason.DONE)
    assert read(run).to_json()["counts"].keys() == {"tokens"}


def test_the_json_of_shards_has_one_entry_for_each(run: RunDir) -> None:
    write(run, 0, *both(0), end=EndReason.DONE, bad=[3])
    write(run, 2, (50, 66), end=EndReason.FAILED, kind=FailureKind.ERROR, message="no model", bad=[51, 52])
    done = {"samples": 25, "ok": 24, "failed": 1}
    failed = {"samples": 25, "ok": 14, "failed": 2, "kind": "ERROR", "message": "no model"}
    untouched = {"state": "pending", "samples": 25, "ok": 0, "failed": 0}
    document = json.loads(json.dumps(read(run).to_json(list(read(run).shard_rows()))))
    task = {"job_id", "node", "attempt", "elapsed_seconds", "memory", "samples_per_second", "slow"}
    task |= {"memory_asked", "cpus", "cpus_asked", "gpus", "gpus_asked"}
    assert all(entry.keys() >= task for entry in document["shard_list"])
    assert [{key: entry[key] for key in entry if key not in task} for entry in document["shard_list"]] == [
        {"shard": 0, "state": "done", **done},
        {"shard": 1, **untouched},
        {"shard": 2, "state": "failed", **failed},
        {"shard": 3, **untouched},
    ]


def test_a_run_is_complete_once_all_is_done_and_gathered(run: RunDir) -> None:
    finish_all(run)
    assert read(run).state == "incomplete"
    assert "launcher gather" in status_lines(read(run))[-1]
    write_stub_result(run)
    assert read(run).state == "complete"
    assert str(run.result) in status_lines(read(run))[-1]


def test_a_result_from_before_the_last_row_is_no_complete_run(run: RunDir) -> None:
    finish_all(run)
    write_stub_result(run)
    submit(run, 2, rows=Spans([(0, 25)]))
    Outcome(1.0).write(run, 2)
    write_shard(run, 0, submission=2)
    found = read(run)
    assert found.state == "incomplete"
    assert f"{run.result}: another run's result, or from before the last rows were done" in "\n".join(
        status_lines(found)
    )


def test_the_result_of_another_run_in_its_place_is_no_complete_run(run: RunDir) -> None:
    finish_all(run)
    write_stub_result(run)
    change_plan(run, fingerprint="e" * 16)
    assert read(run).state == "incomplete"


def test_clocks_say_nothing_of_a_result_with_a_seal(run: RunDir) -> None:
    with attempt(run) as ahead:
        ahead.commit_all(Spans([(0, 100)]))
        ahead.beat(end=EndReason.DONE, advanced=time.time() + 3600)
    write_stub_result(run)
    os.utime(run.result, (1.0, 1.0))
    assert read(run).state == "complete"


def test_a_result_without_a_seal_counts_if_it_is_newer_than_the_rows(run: RunDir) -> None:
    with attempt(run) as ahead:
        ahead.commit_all(Spans([(0, 100)]))
        ahead.beat(end=EndReason.DONE, advanced=time.time() + 3600)
    run.result.write_bytes(b"\x89HDF\r\n\x1a\n")  # as version 0.1.0 wrote them
    assert read(run).state == "complete"
    os.utime(run.result, (time.time() - 60, time.time() - 60))
    assert read(run).state == "incomplete"
    run.result.write_bytes(b"not a result")
    assert read(run).state == "incomplete"


def test_a_result_from_before_rows_that_do_not_count_any_more_is_a_complete_run(run: RunDir) -> None:
    finish_all(run)
    write_stub_result(run)
    with attempt(run, worker=99) as late:  # its name comes last
        late.commit(0, 16)
        late.beat(advanced=time.time() + 3600)
    assert read(run).state == "complete"


@pytest.mark.parametrize("place", ["other.h5", "{run}.h5"])
def test_a_result_elsewhere_counts(run: RunDir, tmp_path: Path, place: str) -> None:
    finish_all(run)
    write_stub_result(run)
    path = tmp_path / place.replace("{run}", "run")
    submission = Submission.read(run.submission(1))
    update(run, submission, resources=replace(submission.resources, output=str(path)))
    assert read(run).state == "incomplete"
    write_stub_result(run, path)
    assert read(run).state == "complete"


def test_an_attempt_that_lives_here_runs_whatever_became_of_its_submission(run: RunDir) -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity
        write(run, 0, (0, 16), process=identity.to_json())
        status = read(run)
        assert (status.state, status.count(ShardState.RUNNING), status.ok) == ("running", 1, 16)
    status = read(run)
    assert (status.count(ShardState.RUNNING), status.count(ShardState.FAILED)) == (0, 1)
    assert status.groups[0].kind == "LOST"
    assert status.groups[0].message == "the attempt left no trace of its end"


def test_what_a_dead_attempt_had_may_be_done_by_others_while_the_submission_goes_on(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    write(run, 0, (0, 16))
    write(run, 1)
    status = read(run)
    assert (status.state, status.shards[0].state, status.shards[1].state) == ("running", "pending", "pending")
    assert status.groups == ()
    assert status.eta is None, "nobody works at it now, as far as is known here"


def test_an_attempt_that_failed_is_told_of_while_others_may_do_its_work(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    write(run, 0, end=EndReason.FAILED, kind=FailureKind.ERROR, message="no model")
    status = read(run)
    assert (status.state, status.shards[0].state) == ("running", "pending")
    assert [(g.kind, g.message, str(g.shards)) for g in status.groups] == [("ERROR", "no model", "0")]


def test_a_shard_that_was_given_up_failed_at_once(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    with attempt(run, process=HERE) as writer:
        writer.hold(0, 50)
        writer.commit(0, 16)
        writer.give_up(0, FailureKind.ERROR, "no model")
        writer.commit(25, 41)
        writer.beat(begun=41)
    status = read(run)
    assert [shard.state for shard in status.shards] == ["failed", "running", "pending", "pending"]
    assert (status.shards[0].ok, status.shards[0].failure) == (16, Failure(FailureKind.ERROR, "no model", 0))
    assert [(g.kind, str(g.shards)) for g in status.groups] == [("ERROR", "0")]


def test_more_failed_samples_than_several_attempts_together_may_have_are_a_failed_shard(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 100), batch_size=16)
    settings = Submission.read(run.submission(1))
    update(run, settings, node=replace(settings.node, max_failed_samples=2), process=dead_process().to_json())
    for worker, batches in enumerate(([(0, 16), (16, 32), (32, 48)], [(48, 64), (64, 80), (80, 96), (96, 100)])):
        with attempt(run, worker=worker) as writer:
            for start, stop in batches:
                writer.commit(start, stop, bad=[start] if start in (0, 16, 48) else ())
            writer.beat(end=EndReason.DONE)
    (shard,) = read(run).shards
    assert (shard.state, shard.ok, shard.failed) == ("failed", 97, 3)
    assert shard.failure
    assert (shard.failure.kind, shard.failure.message.split(",")[0]) == (
        "TOO_MANY_FAILED_SAMPLES",
        "3 of 100 samples failed",
    )


def test_the_executors_record_says_why_an_attempt_left_no_trace(run: RunDir) -> None:
    write(run, 0, (0, 16))
    Outcome(time.time(), failures={0: Failure(FailureKind.CRASH, "killed by SIGKILL", 0)}).write(run, 1)
    assert [(g.kind, g.message) for g in read(run).groups] == [("CRASH", "killed by SIGKILL")]


def test_a_task_that_never_began_is_known_from_the_executors_record(run: RunDir) -> None:
    Outcome(time.time(), failures={2: Failure(FailureKind.LAUNCH, "no python", 2)}).write(run, 1)
    status = read(run)
    assert (status.state, status.shards[2].state, status.count(ShardState.PENDING)) == ("failed", "failed", 3)


def test_an_attempt_that_died_before_its_first_beat_is_lost_with_what_it_begins_with(run: RunDir) -> None:
    attempt(run, worker=2).close()
    status = read(run)
    assert [(g.kind, str(g.shards)) for g in status.groups] == [("LOST", "2")]


def test_a_run_of_an_executor_that_only_another_version_has_can_be_looked_at(run: RunDir) -> None:
    update(run, Submission.read(run.submission(1)), executor="of_tomorrow", process=None)
    write(run, 0, (0, 16))
    with attempt(run, worker=1) as writer:
        writer.give_up(1, FailureKind.ERROR, "no model")
        writer.beat(end=EndReason.FAILED, kind=FailureKind.ERROR, message="no model")
    status = read(run)
    assert status.count(ShardState.FAILED) == 1
    assert any("launcher rerun" in line for line in status_lines(status))


def test_a_stopped_attempt_is_pending_again(run: RunDir) -> None:
    write(run, 0, (0, 16), end=EndReason.STOPPED)
    status = read(run)
    assert (status.state, status.shards[0].state, status.ok) == ("incomplete", "pending", 16)


def test_a_cancelled_run_says_so(run: RunDir) -> None:
    write(run, 0, end=EndReason.STOPPED)
    write(run, 1)
    Outcome(time.time(), cancelled=True).write(run, 1)
    status = read(run)
    assert (status.state, status.count(ShardState.PENDING)) == ("cancelled", 4)


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
    write(run, 0, process=ELSEWHERE)
    status = read(run)
    assert (status.state, status.count(ShardState.RUNNING)) == ("running", 1)
    os.utime(run.submission(1), (time.time() - 3600, time.time() - 3600))
    assert read(run).state == "failed"


def test_an_attempt_that_has_not_written_for_long_is_pointed_out(run: RunDir) -> None:
    own(run, replace(ProcessIdentity.current(), host="elsewhere"))
    with attempt(run, process=ELSEWHERE, age=7200) as stuck, attempt(run, worker=1, process=ELSEWHERE) as well:
        stuck.beat(time=time.time() - 3600)
        well.beat()
    attempt(run, worker=2, process=ELSEWHERE, age=3600).close()
    write(run, 3, end=EndReason.STOPPED)
    status = read(run)
    assert [name[:10] for name in status.silent] == ["0001-00000", "0001-00002"]
    assert status.to_json()["silent"] == list(status.silent)
    assert "; what they have, others take over" in "\n".join(status_lines(status))


def test_where_the_end_waits_for_what_is_silent_its_job_is_named(run: RunDir) -> None:
    own(run, replace(ProcessIdentity.current(), host="elsewhere"))
    silent = AttemptWriter(run, process=ELSEWHERE, began=time.time() - 3600, job_id="12_0")
    silent.close()
    other = attempt(run, worker=1, process=ELSEWHERE)
    other.commit_all(Spans([(0, 100)]))
    other.end()
    assert status_lines(read(run))[2:4] == [
        f"  silent for long: {silent.name}; the end of the run waits for these alone",
        "    their jobs can be ended: 12_0",
    ]


def test_an_old_failure_is_forgotten_once_the_shard_is_submitted_again(run: RunDir) -> None:
    with attempt(run) as writer:
        writer.give_up(0, FailureKind.ERROR, "no model")
        writer.beat(end=EndReason.FAILED, kind=FailureKind.ERROR, message="no model")
    assert read(run).state == "failed"
    submit(run, 2, rows=Spans([(0, 25)]))
    own(run, ProcessIdentity.current(), number=2)
    status = read(run)
    assert (status.state, status.shards[0].state, status.groups) == ("running", "pending", ())


def test_rows_that_are_done_again_do_not_count_as_missing_meanwhile(run: RunDir) -> None:
    finish_all(run)
    submit(run, 2, rows=Spans([(0, 16)]))
    own(run, ProcessIdentity.current(), number=2)
    status = read(run)
    assert (status.ok, status.count(ShardState.DONE), status.shards[0].state) == (100, 3, "pending")
    Outcome(time.time(), failures={0: Failure(FailureKind.LAUNCH, "no python", 0)}).write(run, 2)
    assert read(run).count(ShardState.DONE) == 4


def test_what_is_done_once_all_samples_are_there_is_said(run: RunDir) -> None:
    finish_all(run)
    submit(run, 2, rows=Spans([(0, 16)]))
    own(run, ProcessIdentity.current(), number=2)
    assert ", 16 still to be computed again, shards 3 done, 1 pending" in summary_line(read(run))
    assert brief_line(read(run)).endswith(", 16 still to be computed again")
    with attempt(run, submission=2, worker=5) as writer:
        writer.commit(0, 16)
        writer.beat(end=EndReason.DONE)
    line = summary_line(read(run))
    assert (line.split(", ")[1], "samples/s" in line) == ("writing the result", False)


def test_what_stopped_with_its_launcher_is_neither_lost_nor_cancelled(run: RunDir) -> None:
    write(run, 0, (0, 16))
    assert read(run).state == "failed"
    Outcome(time.time(), error="the launcher (process 7) died", orphaned=True).write(run, 1)
    status = read(run)
    assert (status.state, status.groups) == ("incomplete", ())
    assert any("the launcher (process 7) died" in line for line in status_lines(status))


def test_failed_samples_are_grouped_over_shards(run: RunDir) -> None:
    write(run, 0, *both(0), end=EndReason.DONE, bad=[3, 4])
    write(run, 1, (25, 41), end=EndReason.STOPPED, bad=[30])
    (found,) = read(run).groups
    assert (found.kind, str(found.shards), found.samples, found.message) == (
        "LOAD",
        "0-1",
        3,
        "cannot read sample 3: ☠",
    )
    assert read(run).failed == 3


def test_samples_that_were_tried_again_do_not_count_as_failed(run: RunDir) -> None:
    write(run, 0, (0, 16), end=EndReason.STOPPED, bad=[3])
    submit(run, 2, rows=Spans([(0, 25)]))
    write(run, 0, (0, 16), end=EndReason.STOPPED, submission=2)
    status = read(run)
    assert (status.ok, status.failed, status.groups) == (16, 0, ())


def test_of_failed_samples_that_were_tried_again_the_others_still_count(run: RunDir) -> None:
    write(run, 0, *both(0), end=EndReason.DONE, bad=[3, 20])
    submit(run, 2, rows=Spans([(0, 16)]))
    with attempt(run, submission=2) as writer:
        writer.commit(0, 16, bad=[4])
        writer.beat(end=EndReason.DONE)
    status = read(run)
    assert (status.ok, status.failed, [g.samples for g in status.groups]) == (23, 2, [2])
    assert (status.shards[0].ok, status.shards[0].failed, status.shards[0].state) == (23, 2, "done")


def test_torn_and_damaged_lines_count_for_nothing(run: RunDir) -> None:
    with attempt(run) as writer:
        writer.commit(0, 16)
        writer.beat()
        writer.commit(16, 25)
        writer.beat()
    journal = run.journal(writer.name)
    data = journal.read_bytes()
    journal.write_bytes(data[:-20])
    assert read(run).ok == 16
    journal.write_bytes(data.replace(b'"ok":25', b'"ok":24'))
    assert read(run).ok == 16


def test_a_reader_that_looks_again_sees_what_was_appended_since(run: RunDir) -> None:
    reader = StatusReader(run)
    with attempt(run) as writer:
        writer.commit(0, 16)
        assert reader.read().ok == 0
        writer.beat()
        assert reader.read().ok == 16
        with run.journal(writer.name).open("ab") as file:
            file.write(b'0123456789abcdef {"type":"beat"')
        assert reader.read().ok == 16
        with run.journal(writer.name).open("ab") as file:
            file.write(b"}\n")
        writer.commit(16, 25)
        writer.beat(end=EndReason.DONE)
    assert (reader.read().ok, reader.read().count(ShardState.DONE)) == (25, 1)


def test_a_reader_that_looks_again_reads_failed_samples_as_they_come(run: RunDir) -> None:
    reader = StatusReader(run)
    with attempt(run) as old, attempt(run, submission=2) as new:
        new.commit(0, 16)
        new.beat()
        for last, (start, stop) in enumerate([(0, 16), (16, 25), (25, 41), (41, 50)], 1):
            old.commit(start, stop, bad=[start + 2])
            old.beat()
            status = reader.read()
            assert (status.failed, status.ok) == (last - 1, max(stop, 16) - last + 1)
            assert sum(group.samples for group in status.groups) == last - 1


def test_the_rate_counts_what_this_submission_did(run: RunDir) -> None:
    write(run, 0, (0, 16), end=EndReason.STOPPED)
    submit(run, 2, rows=Spans([(16, 50)]))
    own(run, ProcessIdentity.current(), number=2)
    with attempt(run, submission=2, age=300, process=HERE) as writer:
        writer.commit(16, 25)
        writer.beat()
    status = read(run)
    assert status.rate
    assert status.rate == pytest.approx(9 / 300, rel=0.2)
    assert status.eta == pytest.approx(75 / status.rate)


def test_of_the_first_batches_no_time_left_is_concluded(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    with attempt(run, age=3, process=HERE) as writer:
        writer.commit(0, 8)
        writer.beat()
        status = read(run)
        assert (bool(status.rate), status.eta) == (True, None)
        writer.commit(8, 16)
        writer.beat()
        assert read(run).eta


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


# --- words


def test_a_complete_run_says_in_its_first_line_that_samples_failed(run: RunDir) -> None:
    for shard in range(4):
        write(run, shard, *both(shard), end=EndReason.DONE, bad=range(25 * shard, 25 * shard + 10))
    write_stub_result(run)
    lines = status_lines(read(run))
    assert "complete, 40 of 100 samples failed," in lines[0]
    assert lines[-1].startswith("failed samples: launcher errors ")


def test_examples_are_told_of_failed_samples(run: RunDir) -> None:
    write(run, 0, *both(0), end=EndReason.DONE, bad=[3, 4, 7, 9])
    (group,) = read(run).to_json()["failures"]
    assert group["examples"] == ["row 3", "row 4", "row 7"]
    assert "  LOAD, 4 samples (row 3, row 4, row 7, ...) in 1 shard: cannot read sample 3: ☠" in status_lines(read(run))


def test_no_line_of_the_state_is_wider_than_a_terminal(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    wide = replace(read(run), total=12_345_678, ok=5_000_000, failed=1234, rate=1234.5, eta=100_000.0)
    first, second, *_ = status_lines(wide)
    assert all(len(one) <= 80 for one in (second, first.removeprefix(str(run.path)))), (first, second)
    joined = f"{first} {second.strip()}"
    assert joined.split("  ", 1)[1] == summary_line(wide)


def test_what_a_rerun_would_do_again_in_vain_gets_a_budget_that_suffices(run: RunDir) -> None:
    update(run, Submission.read(run.submission(1)), node=NodeSettings(max_failed_samples=1))
    for shard, bad in enumerate([[3], [30, 31, 32], [], [80, 81]]):
        write(run, shard, *both(shard), end=EndReason.DONE, bad=bad)
    Outcome(time.time()).write(run, 1)
    status = read(run)
    assert (status.state, status.count(ShardState.FAILED)) == ("failed", 2)
    *_, step, which = status_lines(status)
    assert step.endswith(" --set node.max_failed_samples=3")
    assert "errors" in which
    (over, *_) = [group for group in status.groups if group.kind == "TOO_MANY_FAILED_SAMPLES"]
    assert status.advice(over).endswith("--set node.max_failed_samples=3")


@pytest.mark.parametrize("kind", [None, FailureKind.ERROR])
def test_where_most_samples_fail_their_cause_is_to_be_mended(run: RunDir, kind: FailureKind | None) -> None:
    """To allow what has one cause would hide it; and where nothing is ok there is nothing that a correction could not fit."""
    update(run, Submission.read(run.submission(1)), node=NodeSettings(max_failed_samples=1))
    for shard in range(1, 4):
        write(run, shard, *both(shard), end=EndReason.DONE, bad=range(100))
    with attempt(run) as writer:
        writer.commit_all(Spans([(0, 25)]), bad=range(25))
        if kind:
            writer.give_up(0, kind, "no model")
        writer.beat(end=EndReason.DONE)
    Outcome(time.time()).write(run, 1)
    status = read(run)
    assert (status.failed, status.ok) == (100, 0)
    assert summary_line(status).startswith("failed: 0 ok, 100 failed of 100 samples, shards ")
    *_, step, _ = status_lines(status)
    mended = "the cause of the failed samples" if kind is None else "its cause"
    assert f"next: launcher rerun {run.path}, once {mended} is mended" in step
    assert not any("max_failed_samples=" in line or "--fresh" in line for line in status_lines(status))


def test_while_a_run_goes_on_a_rerun_is_advised_for_later(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    write(run, 0, *both(0), end=EndReason.DONE, bad=[3])
    status = read(run)
    assert status.state == "running"
    assert [status.advice(group)[-25:] for group in status.groups] == [" (once the run has ended)"]


def test_very_many_shards_are_told_in_short(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", range(0, 4001, 2), batch_size=2, tasks=1)
    with attempt(run) as writer:
        writer.commit(0, 2)
        for shard in range(3, 2000, 4):
            writer.give_up(shard, FailureKind.ERROR, "no model")
        writer.beat(end=EndReason.DONE)
    Outcome(time.time()).write(run, 1)
    lines = status_lines(read(run))
    said = lines.index("  ERROR, 500 shards (3,7,11,15,19 and 495 more): no model")
    advised = lines[said + 1]
    assert "--shards 3-" in advised
    assert "1999 --keep-results" in advised
    assert len(advised) < 400


def test_a_full_disk_is_no_end_without_a_word(run: RunDir) -> None:
    write(run, 0, end=EndReason.FAILED, kind=FailureKind.DISK, message="No space left on device")
    assert read(run).is_abandoned
    assert not any("without a word" in line for line in status_lines(read(run)))


def test_chosen_shards_are_those_that_failed_run_or_are_slow(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", tuple(range(0, 700, 100)), batch_size=10)
    own(run, ProcessIdentity.current())
    write(run, 0, *((row, row + 10) for row in range(0, 100, 10)), end=EndReason.DONE, bad=[3])
    for worker, rate in ((1, 90.0), (2, 100.0), (3, 20.0), (4, 110.0)):
        writer = attempt(run, worker=worker, process=HERE, age=100)
        with writer:
            writer.hold(100 * worker, 100 * worker + 100, claim=worker)
            writer.commit_all(Spans([(100 * worker, 100 * worker + 60)]))
            writer.beat(rate=rate, memory=5 << 20, begun=100 * worker + 70)
    found = read(run)
    assert [row.shard.shard.index for row in found.shard_rows()] == list(range(6))
    assert [row.shard.shard.index for row in found.shard_rows(failed=True)] == [0]
    assert [row.shard.shard.index for row in found.shard_rows(running=True)] == [1, 2, 3, 4]
    assert [row.shard.shard.index for row in found.shard_rows(slow=True)] == [3]
    assert [row.shard.shard.index for row in found.shard_rows(failed=True, slow=True)] == [0, 3]
    (slow,) = found.shard_rows(slow=True)
    assert slow.words()[:4] == ("3", "running, slow", "60/100", "")
    told = slow.to_json()
    assert (told["node"], told["memory"], told["samples_per_second"]) == ("host", 5 << 20, 20.0)
    assert slow.elapsed == pytest.approx(100, abs=60)
    table = [line.split() for line in status_lines(found, [slow]) if "samples/s" in line]
    assert table[-1] == ["shard", "state", "samples", "node", "elapsed", "memory", "samples/s"]
    narrow = [line.split() for line in status_lines(found, [slow], width=50) if "samples/s" in line]
    assert narrow[-1] == ["shard", "state", "samples", "node", "samples/s"]
    assert "  no shard is in work" in status_lines(read(run), [], none="no shard is in work")


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (FailureKind.ERROR, ", once its cause is mended: launcher logs {run} 1"),
        (FailureKind.DISK, ", once there is room"),
        (FailureKind.OUT_OF_MEMORY, ", with more memory or time, as said above"),
        (FailureKind.CRASH, ""),
        (FailureKind.NODE_FAIL, ""),
    ],
)
def test_the_next_step_after_what_a_rerun_would_repeat_says_what_has_to_be_otherwise(
    run: RunDir, kind: FailureKind, step: str
) -> None:
    write(run, 1, (25, 41), end=EndReason.FAILED, kind=kind, message="no")
    Outcome(1.0).write(run, 1)
    assert status_lines(read(run))[-1] == f"next: launcher rerun {run.path}{step.format(run=run.path)}"


def test_a_screen_that_is_redrawn_holds_no_more_than_it_has_room_for(run: RunDir) -> None:
    own(run, ProcessIdentity.current())
    for worker in range(3):
        with attempt(run, worker=worker, process=HERE) as writer:
            writer.hold(25 * worker, 25 * worker + 25, claim=worker + 1)
            writer.give_up(worker, FailureKind.ERROR, "a long story " * 30)
            writer.beat(rate=3.0, memory=1 << 30)
    clock = iter(range(0, 1000, 10))
    pace = Pace(lambda: float(next(clock)))
    for done in (0, 25, 75, 75):
        pace.note(replace(read(run), ok=done))
    for width, height in ((80, 24), (40, 10), (200, 60)):
        lines = screen_lines(read(run), pace, width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert lines[0].endswith(" at most 5.0 samples/s")
    assert any(line.split()[:2] == ["host", "3"] for line in lines)


def test_the_bar_of_the_redrawn_screen_has_a_line_of_its_own(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "80")
    with attempt(run) as writer:
        writer.give_up(0, FailureKind.ERROR, "a long story " * 30)
        writer.beat(end=EndReason.FAILED, kind=FailureKind.ERROR, message="a long story " * 30)
    screen = StringIO()
    with TerminalView(screen) as view:
        view.show(read(run))
        shown = screen.getvalue()
    (bar,) = [line for line in shown.splitlines() if "\u2501" in line or "\u2500" in line]
    assert all(len(re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line)) <= 78 for line in shown.splitlines()), "room for ^C"
    assert not re.sub(r"\x1b\[[\d;?]*[A-Za-z]|[\u2501\u2500\u2578\u257a]", "", bar).strip()


@pytest.mark.parametrize(
    ("terminal", "view"), [("xterm-256color", TerminalView), ("", TerminalView), ("dumb", LineView)]
)
def test_a_terminal_that_cannot_redraw_gets_lines(
    monkeypatch: pytest.MonkeyPatch, terminal: str, view: type[object]
) -> None:
    monkeypatch.setenv("TERM", terminal)
    screen = StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    assert type(make_view(screen)) is view


def test_the_pace_of_a_run_is_told_in_blocks_of_the_time_in_which_somebody_looked(run: RunDir) -> None:
    clock = [0.0]
    pace, status = Pace(lambda: clock[0]), read(run)
    assert pace.rates(10) == []
    for done in (0, 50, 150, 150):
        pace.note(replace(status, ok=done))
        pace.note(replace(status, ok=done + 1))  # too soon to tell
        clock[0] += 10
    assert pace.rates(10) == [5.0, 10.0, 0.0]
    assert pace.rates(1) == [5.0]
    assert blocks([5.0, 10.0, 0.0]) == "▅█▁"
    assert blocks([0.0]) == "▁"
    for _ in range(5000):
        clock[0] += 10
        pace.note(replace(status, ok=int(clock[0] * 2)))
    assert len(pace.rates(40)) == 40
    assert pace.rates(40)[-1] == pytest.approx(2.0)
