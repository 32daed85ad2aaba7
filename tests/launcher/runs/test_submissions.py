"""Submissions: numbers are given once, rows are in one pair of hands, and damaged files are named."""

import errno
import multiprocessing
import os
import threading
import time
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from jobs.errors import RunError
from jobs.kinds import FailureKind
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.files import write_json
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher.local.local_executor import LocalExecutor
from launcher.runs import signs
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome, create, in_hand, may_run, newest_by_row, read_submissions, withdraw
from tests.support.builders import AttemptWriter, build_plan
from tests.support.patience import PATIENCE

TABLE = ShardTable((0, 10, 20, 30), 4)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """3 shards of 10 rows, planned."""
    run = RunDir(tmp_path / "run")
    run.make()
    Plan("test", "0", 0.0, 30, None, (0, 10, 20, 30), JobSpec("a:B"), 4, 0, {}).write(run.plan)
    return run


def submission(*shards: int, **values: object) -> Submission:
    mine = ProcessIdentity.current().to_json()
    rows = TABLE.rows_of(shards)
    made = Submission(0, "local", time.time(), len(shards), rows, tuple(rows), NodeSettings(), process=mine)
    return replace(made, **values)  # type: ignore[arg-type]


def test_numbers_follow_one_another(run: RunDir) -> None:
    assert [create(run, submission(shard)).number for shard in range(3)] == [1, 2, 3]
    names = [f"{number:04d}.{kind}" for number in (1, 2, 3) for kind in ("claims", "json")]
    assert sorted(path.name for path in run.submissions.iterdir()) == names


def test_there_is_a_claims_folder_before_the_submission_can_be_seen(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def link(source: Path, target: Path) -> None:
        seen.append(ClaimFolder(run.claims(1)).is_open() and not run.submission(1).exists())
        os.rename(source, target)

    monkeypatch.setattr(os, "link", link)
    create(run, submission(0))
    assert seen == [True]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_links_will_do(run: RunDir, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(RunDir, "submission_numbers", lambda self: [])  # both choose the number 1 at first
    assert create(run, submission(0)).number == 1
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", link)
    assert create(run, submission(1)).number == 2
    assert [one.submission.rows for one in read_submissions(run)] == [TABLE.rows_of([0]), TABLE.rows_of([1])]


def test_who_was_killed_where_there_are_no_links_blocks_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the name and what is to stand under it."""

    class Killed(BaseException):
        pass

    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    def die(source: Path, target: Path) -> None:
        if target == run.submission(1):
            left.extend(path.name for path in run.submissions.glob("*.tmp"))
            raise Killed
        really(source, target)

    left: list[str] = []
    really = os.replace
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(Killed):
        create(run, submission(0))
    assert [name[:11] for name in left] == [".0001.json."]  # which clean takes
    monkeypatch.undo()
    assert run.submission(1).stat().st_size == 0
    assert read_submissions(run) == []
    assert create(run, submission(0)).number == 2
    os.utime(run.submission(1), (time.time() - 60,) * 2)  # then nobody is waited for
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    assert run.submission_numbers() == [2]


def test_who_has_the_name_of_a_submission_so_far_is_waited_for(run: RunDir) -> None:
    made = create(run, submission(0))
    content = run.submission(1).read_bytes()
    run.submission(1).write_bytes(b"")
    writing = threading.Timer(0.1, run.submission(1).write_bytes, [content])
    writing.start()
    assert [one.submission for one in read_submissions(run)] == [made]
    writing.join()


def test_another_error_of_the_file_system_is_not_hidden(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EDQUOT, "no")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="no"):
        create(run, submission(0))
    assert [path.name for path in run.submissions.iterdir()] == ["0001.claims"]


def test_a_link_that_the_file_server_made_without_saying_so_counts(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        really(source, target)
        raise FileExistsError(target)

    really = os.link
    monkeypatch.setattr(os, "link", link)
    assert create(run, submission(0)).number == 1


def test_a_row_that_somebody_has_is_not_taken(run: RunDir) -> None:
    create(run, submission(0, 1))
    with pytest.raises(RunError, match="submission 1 is running these shards"):
        create(run, submission(1, 2))
    assert run.submission_numbers() == [1]
    assert not run.claims(2).exists()


def test_other_rows_of_the_same_shard_are_free(run: RunDir) -> None:
    create(run, submission(0, rows=Spans([(0, 4)])))
    assert create(run, submission(0, rows=Spans([(4, 10)]))).number == 2


def test_what_a_killed_finalize_job_was_about_to_submit_does_not_go_on(run: RunDir) -> None:
    create(run, submission(0, job_ids=("7",)))
    following = submission(1, process=None, resources=Resources(continues=1, follower=1))
    made = create(run, following)
    assert may_run(run, made)
    mine = ProcessIdentity.current()
    write_json(run.ending(1), mine.to_json())
    assert may_run(run, made)
    write_json(run.ending(1), replace(mine, start=mine.start - 1).to_json())
    assert not may_run(run, made)
    assert may_run(run, replace(made, job_ids=("9",)))  # it has done that before


def test_a_submission_whose_finalize_job_was_killed_does_not_go_on(run: RunDir) -> None:
    made = create(run, submission(0, process=None, job_ids=("7",)))
    mine = ProcessIdentity.current()
    write_json(run.ending(made.number), mine.to_json())
    assert may_run(run, made)
    write_json(run.ending(made.number), replace(mine, start=mine.start - 1).to_json())
    assert not may_run(run, made)
    write_json(run.ending(made.number), replace(mine, host="elsewhere").to_json())
    assert may_run(run, made)
    os.utime(run.ending(made.number), (time.time() - 600, time.time() - 600))
    assert not may_run(run, made)
    # From here on a launcher ends it.
    assert may_run(run, replace(made, resources=Resources(attended=True)))
    run.ending(made.number).write_text("{")
    assert may_run(run, made)


def test_one_of_another_boot_may_be_another_machine_of_that_name_unless_it_is_silent_since_this_one_was_booted(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(ProcessIdentity.current(), boot="another", start=1)
    made = create(run, submission(0, process=other.to_json()))
    assert may_run(run, made)
    with pytest.raises(RunError, match=f"runs on {other.host}"):
        LocalExecutor().cancel(run, made)
    os.utime(run.submission(made.number), (time.time() - 100,) * 2)
    assert may_run(run, made)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: 60.0)
    assert not may_run(run, made)


def test_a_finalize_job_that_is_through_at_this_moment_hides_no_submission(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(run, submission(0, process=None, job_ids=("7",)))
    write_json(run.ending(made.number), replace(ProcessIdentity.current(), host="elsewhere").to_json())

    def clock(folder: Path) -> float:
        run.ending(made.number).unlink()
        return time.time()

    monkeypatch.setattr(signs, "server_time", clock)
    assert [known.number for known in read_submissions(run)] == [made.number]


def test_a_shard_of_a_submission_that_ended_is_free(run: RunDir) -> None:
    create(run, submission(0, 1))
    Outcome(time.time()).write(run, 1)
    assert in_hand(read_submissions(run), TABLE) == []
    assert create(run, submission(0, 1)).number == 2


def test_rows_in_hand_are_those_of_submissions_that_go_on(run: RunDir) -> None:
    create(run, submission(0))
    create(run, submission(1))
    create(run, submission(2, planned=True))
    assert in_hand(read_submissions(run), TABLE) == [(1, Spans([(0, 10)])), (2, Spans([(10, 20)]))]


def test_a_retry_takes_over_the_rows_of_the_submission_it_continues(run: RunDir) -> None:
    create(run, submission(0, 1))
    create(run, submission(1, resources=Resources(continues=1)))
    newest = [(one.number, rows) for one, rows in newest_by_row(read_submissions(run), TABLE)]
    assert newest == [(2, Spans([(10, 20)])), (1, Spans([(0, 10)]))]


def test_a_submission_none_of_whose_rows_it_is_the_last_is_left_out(run: RunDir) -> None:
    create(run, submission(0))
    create(run, submission(0, 1, resources=Resources(continues=1)))
    assert [one.number for one, _ in newest_by_row(read_submissions(run), TABLE)] == [2]


def test_a_submission_that_is_withdrawn_while_they_are_read_is_left_out(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, submission(0))
    monkeypatch.setattr(RunDir, "submission_numbers", lambda self: [1, 2])
    assert [one.number for one in read_submissions(run)] == [1]


def test_the_number_of_a_submission_that_was_withdrawn_is_given_again(run: RunDir) -> None:
    withdraw(run, create(run, submission(0)).number)
    assert list(run.submissions.iterdir()) == []
    assert create(run, submission(0)).number == 1


def test_whoever_gets_that_number_loses_nothing_to_the_withdrawal(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    create(run, submission(0))
    run.script(1).touch()
    really, left = Path.unlink, list[Path]()

    def unlink(path: Path, missing_ok: bool = False) -> None:
        really(path, missing_ok=missing_ok)
        if path == run.submission(1):  # from now on the number is free
            left.extend(run.submissions.iterdir())

    monkeypatch.setattr(Path, "unlink", unlink)
    withdraw(run, 1)
    assert left == []
    assert list(run.submissions.iterdir()) == []


def test_outcomes_come_back_as_they_were_written(run: RunDir) -> None:
    outcome = Outcome(1.5, True, {3: Failure(FailureKind.CRASH, "died", 3)}, "no room", orphaned=True)
    outcome.write(run, 1)
    assert Outcome.read(run, 1) == outcome
    assert Outcome.read(run, 2) is None


def test_nobody_takes_a_claim_of_a_submission_that_has_ended(run: RunDir) -> None:
    create(run, submission(0))
    claims = ClaimFolder(run.claims(1))
    assert claims.take(Claim(0, 1, "0001-00000-aaaaaaaa", 0, 10))
    Outcome(time.time()).write(run, 1)
    assert not claims.is_open()
    assert not claims.take(Claim(0, 2, "0001-00001-bbbbbbbb", 4, 10))
    assert sorted(path.name for path in run.submissions.iterdir()) == ["0001.json", "0001.outcome"]


def test_what_a_killed_launcher_left_of_the_claims_goes_with_the_next_outcome(run: RunDir) -> None:
    create(run, submission(0))
    (run.submissions / ".0001.claims").mkdir()
    (run.submissions / ".0001.claims" / "000000.1").touch()
    Outcome(time.time()).write(run, 1)
    Outcome(time.time(), cancelled=True).write(run, 1)
    assert sorted(path.name for path in run.submissions.iterdir()) == ["0001.json", "0001.outcome"]


@pytest.mark.parametrize("text", ["", '{"number": 1, "exec', "[]", "{}", "null"])
@pytest.mark.parametrize(("kind", "remedy"), [("json", "launcher rerun"), ("outcome", "launcher cancel")])
def test_a_damaged_file_is_named_with_what_to_do(run: RunDir, kind: str, remedy: str, text: str) -> None:
    create(run, submission(0))
    Outcome(time.time()).write(run, 1)
    (run.submissions / f"0001.{kind}").write_text(text)
    with pytest.raises(RunError, match=rf"0001\.{kind}: cut short or damaged.*Remove it, then: {remedy} {run.path}"):
        read_submissions(run)


def _race(path: Path, results: "Queue[str]", all_have_tried: Event) -> None:
    try:
        create(RunDir(path), submission(0))
        results.put("won")
        all_have_tried.wait()  # a submission whose process is gone is nobody's
    except RunError:
        results.put("lost")


def test_of_several_at_the_same_moment_one_gets_the_shard(run: RunDir) -> None:
    context = multiprocessing.get_context("spawn")
    results, all_have_tried = context.Queue(), context.Event()
    racers = [context.Process(target=_race, args=(run.path, results, all_have_tried), daemon=True) for _ in range(4)]
    for racer in racers:
        racer.start()
    found = [results.get(timeout=PATIENCE) for _ in racers]
    all_have_tried.set()
    for racer in racers:
        racer.join()
    assert sorted(found) == ["lost", "lost", "lost", "won"]
    assert len(run.submission_numbers()) == 1


def test_a_run_without_its_submissions_says_so(run: RunDir) -> None:
    run.submissions.rmdir()
    with pytest.raises(RunError, match=r"submissions: this folder is gone.*mkdir"):
        read_submissions(run)


def test_a_number_whose_attempts_are_there_is_not_given_again(run: RunDir) -> None:
    create(run, submission(0))
    AttemptWriter(run, 4).close()  # of a submission whose file is gone
    assert create(run, submission(1)).number == 5


def test_a_submission_that_a_listing_does_not_show_yet_is_there(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for shard in range(3):
        create(run, submission(shard))
    listed = [run.submission(1)]
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(listed))
    assert run.submission_numbers() == [1, 2, 3]


def test_what_nfs_keeps_of_a_claim_that_is_open_hinders_no_end(run: RunDir) -> None:
    made = create(run, submission(0))
    left = run.submissions / ".0001.claims"
    left.mkdir()
    (left / ".nfs0001").touch()
    Outcome(1.0).write(run, made.number)
    assert not run.claims(1).exists()


def test_a_submission_says_of_which_plan_it_is(run: RunDir) -> None:
    made, plan = create(run, submission(0)), Plan.read(run.plan)
    assert Submission.read(run.submission(1)).is_of(plan)
    assert not made.is_of(replace(plan, fingerprint="1"))


def test_a_local_run_on_another_machine_goes_on_by_the_clock_of_the_file_server(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, submission(0, process=replace(ProcessIdentity.current(), host="elsewhere").to_json()))
    monkeypatch.setattr(time, "time", lambda: 1e12)  # ours is far ahead
    assert [known.is_open for known in read_submissions(run)] == [True]
    os.utime(run.submission(1), (1.0, 1.0))
    assert [known.is_open for known in read_submissions(run)] == [False]


def test_a_run_whose_attempts_and_logs_were_removed_begins_anew(run: RunDir) -> None:
    for folder in (run.attempts, run.logs):
        folder.rmdir()
    create(run, submission(0))
    assert run.attempts.is_dir()
    assert run.logs.is_dir()


def test_a_run_that_is_replaced_at_this_moment_is_waited_for(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", range(0, 9, 4))
    away = run.submissions.rename(tmp_path / "away")
    threading.Timer(0.1, away.rename, [run.submissions]).start()
    assert [known.number for known in read_submissions(run)] == [1]
