"""SlurmJob: an array task asks Slurm for another start once all its ranks have left, and ends what waits for nothing."""

import os
import threading
import time
from pathlib import Path

import pytest

from jobs.kinds import EndReason
from jobs.node.supervisor.slurm_job import cancel_waiting, end_silent, has_ended_others, is_near_its_end, requeue
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from tests.support.builders import AttemptWriter, build_plan, submit
from tests.support.launcher_runs import wait_until
from tests.support.task_runs import attempts, run_task


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Element 3 of array 12; what it asks of Slurm's commands is written here, a line each."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "squeue").write_text(f'#!/bin/sh\necho squeue "$@" >> {tmp_path}/asked\necho "$QUEUED"\n')
    (commands / "squeue").chmod(0o755)
    for name in ("scontrol", "scancel"):
        (commands / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\nexit ${{REFUSED:-0}}\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    for key, value in {"JOB_ID": "15", "ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "3", "RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    return tmp_path / "asked"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with a submission that goes on."""
    run = build_plan(tmp_path / "run", (0, 8, 16))
    submit(run, claims=True)
    return run


def be_rank(monkeypatch: pytest.MonkeyPatch, rank: int, ranks: int) -> None:
    for key, value in {"STEP_ID": "0", "PROCID": str(rank), "STEP_NUM_TASKS": str(ranks)}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)


def test_a_task_of_one_node_is_requeued_at_once(run: RunDir, asked: Path) -> None:
    assert requeue(run, Submission.read(run.submission(1)), 3)
    assert asked.read_text() == "scontrol requeue 15\n"


def test_a_requeue_that_slurm_refuses_is_told(
    run: RunDir, asked: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFUSED", "1")
    assert not requeue(run, Submission.read(run.submission(1)), 3)
    assert "scontrol requeue:" in capfd.readouterr().err


def test_of_several_ranks_the_first_requeues_when_the_others_have_ended(
    run: RunDir, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AttemptWriter(run, worker=6, index=3, restart=0).close()  # of the start before, which was killed
    AttemptWriter(run, worker=4, index=2, restart=1).close()  # of another element
    AttemptWriter(run, worker=6, index=3, restart=1).end()
    other = AttemptWriter(run, worker=7, index=3, restart=1)
    other.beat()
    be_rank(monkeypatch, 1, 2)
    assert not requeue(run, Submission.read(run.submission(1)), 3)
    be_rank(monkeypatch, 0, 2)
    thread = threading.Thread(target=requeue, args=(run, Submission.read(run.submission(1)), 3))
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    assert not asked.exists()
    other.end()
    wait_until(asked.exists)
    thread.join()


def test_what_waits_is_cancelled_once_a_submission(run: RunDir, asked: Path) -> None:
    cancel_waiting(run, 1)
    cancel_waiting(run, 1)
    assert asked.read_text() == "scancel --quiet --state=PENDING 12\n"


def test_nothing_is_cancelled_where_the_submission_has_ended_or_is_no_array(
    run: RunDir, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel_waiting(run, 2)  # has no claims folder
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "1")
    cancel_waiting(run, 1)
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    cancel_waiting(run, 1)
    assert not asked.exists()


@pytest.mark.parametrize(("seconds", "is_near"), [(60, True), (150, True), (600, False)])
@pytest.mark.parametrize("told", ["by the environment", "by squeue"])
def test_a_signal_long_before_the_time_limit_is_not_that_of_the_limit(
    asked: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, is_near: bool, told: str
) -> None:
    end = time.time() + seconds
    if told == "by squeue":
        squeue = asked.parent / "bin" / "squeue"
        squeue.write_text(f"#!/bin/sh\necho '1-01:00:00|1-01:{seconds // 60:02}:{seconds % 60:02}'\n")
        squeue.chmod(0o755)
    else:
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(end)))
    assert is_near_its_end(60) == is_near


@pytest.mark.parametrize("said", ["", "INVALID"])
def test_where_slurm_does_not_tell_when_a_job_ends_the_signal_is_that_of_the_limit(
    asked: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    squeue = asked.parent / "bin" / "squeue"
    squeue.write_text(f"#!/bin/sh\necho {said}\n")
    squeue.chmod(0o755)
    assert is_near_its_end(60)


def test_a_job_without_a_time_limit_is_not_near_it(asked: Path) -> None:
    squeue = asked.parent / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho '1:00|UNLIMITED'\n")
    squeue.chmod(0o755)
    assert not is_near_its_end(60)


@pytest.mark.parametrize(("warning", "is_near"), [(60, False), (900, True)])
def test_a_longer_warning_comes_longer_before_the_time_limit(
    asked: Path, monkeypatch: pytest.MonkeyPatch, warning: int, is_near: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 930))
    assert is_near_its_end(warning) == is_near


def test_time_in_which_a_job_was_suspended_has_put_off_its_end(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = asked.parent / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho '0:30|1:00:00'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 10))
    assert not is_near_its_end(60)


def test_a_job_that_may_go_on_over_its_limit_for_a_while_is_near_it(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = asked.parent / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho '1:05:00|1:00:00'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) - 300))
    assert is_near_its_end(60)


# --- what is silent when all is done


def never() -> bool:
    return False


def test_a_task_that_is_there_and_writes_nothing_is_ended(
    run: RunDir, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AttemptWriter(run, worker=0, job_id="12_3").close()  # this one
    AttemptWriter(run, worker=1, job_id="12_4").end()
    AttemptWriter(run, worker=2, job_id="12_5").close()  # frozen
    AttemptWriter(run, worker=3, job_id="12_6").close()  # killed: Slurm has it no more
    slow = AttemptWriter(run, worker=4, job_id="12_7")
    monkeypatch.setenv("QUEUED", "12_5\n12_7\n")
    thread = threading.Thread(target=end_silent, args=(run, 1, never, 2.0))
    thread.start()
    until = time.monotonic() + 4.0
    while time.monotonic() < until:  # longer than anybody may be silent; a slow disk takes a second for each beat
        slow.beat()
        time.sleep(0.1)
    slow.end()
    thread.join()
    squeue, scancel = asked.read_text().splitlines()
    assert "--jobs=12_5,12_6,12_7" in squeue
    assert scancel == "scancel --quiet 12_5"
    end_silent(run, 1, never, 0.1)  # another task, later
    assert len(asked.read_text().splitlines()) == 2


def test_where_all_have_ended_nobody_is_asked(run: RunDir, asked: Path) -> None:
    AttemptWriter(run, worker=1, job_id="12_4").end()
    assert not has_ended_others(run, 1)
    end_silent(run, 1, never)
    assert not asked.exists()
    assert has_ended_others(run, 1)


def test_a_task_that_comes_when_all_is_done_cancels_those_that_wait_as_well(tmp_path: Path, asked: Path) -> None:
    """Who did the last of it may have been killed before it asked for that."""
    run = build_plan(tmp_path / "late", (0, 8, 16))
    submit(run, tasks=4, claims=True)
    other = AttemptWriter(run, worker=1, job_id="12_1")
    for number, (start, stop) in enumerate(Submission.read(run.submission(1)).ranges):
        assert ClaimFolder(run.claims(1)).take(Claim(number, 1, other.name, start, stop))
    other.beat(Spans([(0, 16)]), end=EndReason.DONE)
    other.close()
    late = run_task(run, index=3)
    assert (late.returncode, len(attempts(run))) == (0, 1), late.stderr
    assert asked.read_text() == "scancel --quiet --state=PENDING 12\n"
    assert "others have done all of it" in run.log(1, 3).read_text()
    assert has_ended_others(run, 1)


def test_whoever_has_to_leave_waits_for_nobody(run: RunDir, asked: Path) -> None:
    AttemptWriter(run, worker=1, job_id="12_4").close()
    end_silent(run, 1, lambda: True)
    assert not asked.exists()
