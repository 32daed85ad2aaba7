"""Logs: which hold text of a shard, and what ``launcher logs -f`` reads of one that an attempt is still at."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.kinds import EndReason, FailureKind
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.stamps import stamp
from jobs.storage.submission import Submission
from launcher.runs.log_choice import LogChoice
from launcher.runs.logs import about_rows, last_words, read_logs
from launcher.runs.submissions import Outcome, update
from tests.support.builders import AttemptWriter, build_plan, submit
from tests.support.launcher_runs import wait_until
from tests.support.patience import PATIENCE

HERE = ProcessIdentity.current().to_json()


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Shards of 20, 30 and 14 rows, each the range of a worker; all logs are there."""
    run = build_plan(tmp_path / "run", (0, 20, 50, 64))
    submit(run, 2, rows=Spans([(0, 20)]))
    for number in (1, 2):
        run.submission_log(number).write_text(f"submission {number}\n")
        for worker in range(3):
            run.log(number, worker).write_text(f"worker {worker} of {number}\n")
    return run


def names(run: RunDir, shard: int) -> list[str]:
    return [path.name for path in LogChoice.of(run, Plan.read(run.plan), shard).paths()]


def failed_names(run: RunDir) -> list[str]:
    return [path.name for path in LogChoice.of(run, Plan.read(run.plan), failed=True).paths()]


def test_where_nothing_began_the_owner_and_the_submission_have_a_word(run: RunDir) -> None:
    assert names(run, 1) == ["0001-00001.log", "0001.log"]
    assert names(run, 0) == ["0001-00000.log", "0001.log", "0002-00000.log", "0002.log"]


def test_logs_are_those_of_the_workers_that_had_rows_of_the_shard(run: RunDir) -> None:
    for worker, rows in ((2, (0, 25)), (0, (25, 40)), (1, (50, 64))):
        with AttemptWriter(run, 1, worker) as writer:
            writer.hold(*rows, claim=worker + 1)
            writer.beat()
    assert names(run, 0) == ["0001-00002.log", "0002-00000.log", "0002.log"]
    assert names(run, 1) == ["0001-00000.log", "0001-00002.log"]
    assert names(run, 2) == ["0001-00001.log"]


def test_a_claim_that_no_beat_tells_of_counts(run: RunDir) -> None:
    run.claims(1).mkdir()
    with AttemptWriter(run, 1, 2) as writer:
        assert ClaimFolder(run.claims(1)).take(Claim(1, 1, writer.name, 20, 50))
    assert names(run, 1) == ["0001-00002.log"]


def test_the_last_words_are_the_last_line_that_says_something(run: RunDir) -> None:
    run.log(1, 0).write_text("first\nsecond  \n\n \n")
    assert last_words(run.log(1, 0)) == "second"
    run.log(1, 0).write_text(f"{stamp('p0.w1')}ValueError: no\n{stamp('task')}\n")
    assert last_words(run.log(1, 0)) == "ValueError: no"
    assert last_words(run.log(1, 9)) == ""


class Follower:
    """``launcher logs -f`` in a thread."""

    def __init__(self, run: RunDir, shard: int) -> None:
        self.seen: list[bytes] = []
        choice = LogChoice.of(run, Plan.read(run.plan), shard)
        self._thread = Thread(target=lambda: self.seen.extend(piece for _, piece in read_logs(choice, follow=True)))
        self._thread.start()

    def goes_on(self) -> bool:
        self._thread.join(0.5)
        return self._thread.is_alive()

    def text(self) -> bytes:
        """All of it, once it has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return b"".join(self.seen)


@pytest.fixture
def child() -> Iterator[dict[str, Any]]:
    """The identity of a process that lives."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity
        yield identity.to_json()


def test_the_last_words_of_an_attempt_are_followed_after_the_shard_is_done(run: RunDir) -> None:
    run.log(1, 1).write_bytes(b"shard 1, attempt 1\n")
    with AttemptWriter(run, 1, 1, process=HERE) as writer:
        writer.hold(20, 50)
        writer.beat()
        follower = Follower(run, 1)
        wait_until(lambda: follower.seen)
        writer.commit_all(Spans([(20, 50)]))
        writer.beat()
        assert follower.goes_on()
        with run.log(1, 1).open("ab") as log:
            log.write(b"shard 1 is done\n")
        writer.beat(end=EndReason.DONE)
    assert follower.text() == b"shard 1, attempt 1\nshard 1 is done\n"


def test_following_ends_with_the_shard_though_the_attempt_goes_on_with_others(run: RunDir) -> None:
    with AttemptWriter(run, 1, 1, process=HERE) as writer:
        writer.hold(20, 64)
        writer.beat()
        follower = Follower(run, 1)
        assert follower.goes_on()
        writer.commit_all(Spans([(20, 50)]))
        writer.beat()
        assert follower.text() == b"worker 1 of 1\n"


def test_following_ends_once_nobody_runs_the_shard(run: RunDir) -> None:
    update(run, Submission.read(run.submission(1)), process=HERE)
    follower = Follower(run, 1)
    assert follower.goes_on()
    with AttemptWriter(run, 1, 1) as writer:
        writer.hold(20, 50)
        writer.beat(end=EndReason.STOPPED)
    assert follower.goes_on()
    Outcome(0.0).write(run, 1)
    assert follower.text() == b"worker 1 of 1\nsubmission 1\n"


def test_an_attempt_that_lives_is_followed_whatever_became_of_its_submission(
    run: RunDir, child: dict[str, Any]
) -> None:
    Outcome(0.0).write(run, 1)
    with AttemptWriter(run, 1, 1, process=child) as writer:
        writer.hold(20, 50)
        writer.beat()
        follower = Follower(run, 1)
        assert follower.goes_on()
        writer.beat(end=EndReason.STOPPED)
    assert follower.text() == b"worker 1 of 1\n"


def test_without_a_shard_there_are_all_logs_of_a_submission_after_its_own(run: RunDir) -> None:
    own = [[f"000{number}-0000{worker}.log" for worker in range(3)] for number in (1, 2)]
    found = [path.name for path in LogChoice(run, Plan.read(run.plan)).paths()]
    assert found == ["0001.log", *own[0], "0002.log", *own[1]]


def test_the_logs_of_what_failed_are_those_of_failed_shards_or_else_of_failed_samples(run: RunDir) -> None:
    for number in (1, 2):
        Outcome(0.0).write(run, number)
    with AttemptWriter(run, 1, 0) as writer:
        writer.hold(0, 20)
        writer.commit_all(Spans([(0, 20)]), bad=[3])
        writer.beat(end=EndReason.DONE)
    assert failed_names(run) == ["0001-00000.log", "0002-00000.log", "0002.log"]
    with AttemptWriter(run, 1, 2) as writer:
        writer.hold(50, 64)
        writer.beat(end=EndReason.FAILED, kind=FailureKind.ERROR, message="no model")
    assert failed_names(run) == ["0001-00002.log"]


@given(st.lists(st.sampled_from([b"", b"a", b"b" * 90_000])), st.booleans(), st.integers(0, 5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_tail_of_a_log_is_its_last_lines(run: RunDir, lines: list[bytes], is_ended: bool, count: int) -> None:
    log = b"".join(line + b"\n" for line in lines) + (b"" if is_ended else b"no end")
    run.log(1, 0).write_bytes(log)
    for path in (run.submission_log(2), run.log(2, 0), run.submission_log(1)):
        path.unlink(missing_ok=True)
    shown = b"".join(piece for _, piece in read_logs(LogChoice.of(run, Plan.read(run.plan), 0), tail=count))
    assert shown == b"".join(log.splitlines(keepends=True)[::-1][:count][::-1])


def test_about_a_sample_there_are_the_lines_of_its_process_around_those_that_name_it() -> None:
    path = Path("0001-00000.log")
    lines = [f"{stamp(f'p0.w{n % 2}')}line {n}\n" for n in range(100)]
    lines[0] = f"{stamp('task')}samples 0 to 299: 300 to do\n"
    lines[50] = f"{stamp('p0.w0')}sample 17 (s17) failed (LOAD):\n"
    lines[51] = "  without a stamp: of the same\n"
    lines[70] = f"{stamp('task')}process 1 died of SIGKILL at samples 10 to 19\n"
    text = "".join(lines).encode()
    pieces = [(path, text[at : at + 7]) for at in range(0, len(text), 7)]
    shown = b"".join(line for _, line in about_rows(pieces, [17], 10)).decode().splitlines(keepends=True)
    mine = [line for line in lines[1:] if " p0.w0 " in line and "sample" not in line]
    assert shown == [*mine[14:24], lines[50], lines[51], *mine[24:33], lines[0], lines[70], *mine[33:48]]
    assert not list(about_rows(pieces, [20], 10))
