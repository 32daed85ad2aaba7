"""The local executor: runs, kills, interrupts, retries, cancels, reruns; with real processes, signals and files."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.storage import checked_json
from jobs.storage.attempts import Attempts
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from launcher.status.reader import StatusReader
from tests.support.builders import damage
from tests.support.launcher_runs import (
    command,
    document,
    environment,
    executor_pid,
    kill,
    launcher,
    newest,
    run_of,
    start,
    status,
    wait_until,
    write_config,
)
from tests.support.patience import PATIENCE
from tests.support.task_runs import alive, attempts, content, done_rows

SLOW = {"delay": 0.05}


def tasks_of(run: RunDir) -> list[psutil.Process]:
    """All living processes of a run: launchers, executors, array tasks and what these started."""
    text = str(run.path)
    roots = [p for p in psutil.process_iter() if p.pid != os.getpid() and text in " ".join(_command_line(p))]
    return alive([*roots, *(child for root in roots for child in _children(root))])


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def committed(run: RunDir) -> int:
    return StatusReader(run).read().ok


def wait_for_progress(run: RunDir, process: subprocess.Popen[str] | None = None) -> None:
    """Waits until some samples are committed; fails at once where the launcher has ended."""

    def has_progress() -> bool:
        assert process is None or process.poll() is None, process.communicate()[0]
        return run.plan.exists() and committed(run) >= 8

    wait_until(has_progress)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return write_config(tmp_path, rows=200, params=SLOW)


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """A run that takes its time until it is to ``hurry``."""
    return write_config(tmp_path, rows=200, params={"delay": 0.2, "hurry": str(tmp_path / "hurry")})


def hurry(config: Path) -> None:
    (config.parent / "hurry").touch()


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A run that takes minutes, for tests that stop it."""
    return write_config(tmp_path, rows=8000, params=SLOW)


def test_run_computes_everything_and_writes_the_result(config: Path) -> None:
    done = launcher(config.parent, "run", config.name, "--json")
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert found["state"] == "complete"
    assert found["samples"] == {"total": 100, "ok": 100, "failed": 0, "missing": 0}
    assert run_of(config).result.exists()
    assert tasks_of(run_of(config)) == []


def test_a_second_run_of_what_is_complete_does_nothing(config: Path) -> None:
    launcher(config.parent, "run", config.name)
    again = launcher(config.parent, "run", config.name)
    assert again.returncode == 0
    assert run_of(config).submission_numbers() == [1]


def test_submit_returns_at_once_and_the_run_goes_on_to_the_result(slow: Path) -> None:
    run = run_of(slow)
    done = launcher(slow.parent, "submit", slow.name, "--json")
    assert done.returncode == 0, done.stderr
    assert document(done)["submission"] == 1
    assert document(done)["process"]["pid"] == executor_pid(run)
    assert status(slow.parent, run)["state"] == "running"
    watched = launcher(slow.parent, "status", "toy", "--watch")
    assert watched.returncode == 0, watched.stdout
    assert StatusReader(run).read().state == "complete"


def test_what_runs_is_not_submitted_again(endless: Path) -> None:
    run = run_of(endless)
    launcher(endless.parent, "submit", endless.name)
    for again in (("run", endless.name), ("submit", "toy"), ("rerun", "toy")):
        refused = launcher(endless.parent, *again)
        assert refused.returncode == 1
        assert "waits or runs already" in refused.stderr
        assert "stop it with `launcher cancel toy`" in refused.stderr
    assert run.submission_numbers() == [1]
    assert launcher(endless.parent, "cancel", "toy").returncode == 0


def test_interrupted_once_it_stops_in_order_and_resumes_to_the_same_bytes(patient: Path, tmp_path: Path) -> None:
    run = run_of(patient)
    process = start(patient.parent, "run", patient.name)
    wait_for_progress(run, process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, text
    assert f"launcher run {run.name}" in text
    assert "Traceback" not in text
    assert tasks_of(run) == []
    assert status(patient.parent, run)["state"] == "cancelled"
    kept = committed(run)
    assert kept >= 8
    hurry(patient)
    resumed = launcher(patient.parent, "run", patient.name)
    assert resumed.returncode == 0, resumed.stderr
    first, second = (union(one.beat.done for one in attempts(run) if one.submission == number) for number in (1, 2))
    assert (first & second, first | second) == (Spans(), Spans([(0, 200)]))
    other = write_config(tmp_path / "undisturbed", rows=200)
    assert launcher(other.parent, "run", other.name).returncode == 0
    assert [content(run, shard) for shard in range(4)] == [content(run_of(other), shard) for shard in range(4)]


@pytest.mark.thorough
def test_interrupted_twice_it_ends_at_once(tmp_path: Path) -> None:
    slow = write_config(tmp_path, rows=8, shards=1, params={"bad": {"3": "sleep"}})
    run = run_of(slow)
    process = start(slow.parent, "run", slow.name)
    wait_until(lambda: attempts(run))
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, text
    assert tasks_of(run) == []
    found = status(slow.parent, run)
    assert (found["state"], found["shards"]["pending"], found["failures"]) == ("cancelled", 1, [])


def start_in_terminal(folder: Path, *arguments: object) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the launcher in a terminal of its own; returns it and the terminal's other end."""
    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env={**environment(), "TERM": "xterm-256color"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(inside)
    return process, outside


def read_terminal(outside: int, until: bytes = b"\0") -> bytes:
    """What the terminal showed, until a text comes or its program has ended."""
    shown = b""
    try:
        while until not in shown:
            shown += os.read(outside, 65536)
    except OSError:  # the program has ended
        pass
    return shown


def test_on_a_terminal_the_view_is_redrawn_and_the_end_is_left_on_the_screen(slow: Path) -> None:
    process, outside = start_in_terminal(slow.parent, "run", slow.name)
    shown = read_terminal(outside)
    assert process.wait(timeout=PATIENCE) == 0
    assert shown.count(b"running: ") > 2
    assert b"\x1b[2K" in shown
    assert b"complete: 200 of 200 samples (100%)" in shown
    assert shown.rstrip().endswith(b"result.h5")


def test_the_interrupt_key_stops_the_run_in_order(endless: Path) -> None:
    run = run_of(endless)
    process, outside = start_in_terminal(endless.parent, "run", endless.name)
    shown = read_terminal(outside, until=b"running: 1")
    os.write(outside, b"\x03")
    shown += read_terminal(outside)
    assert process.wait(timeout=PATIENCE) == 130
    assert f"what is done is kept; to go on: launcher run {run.name}".encode() in shown, (
        "by a name that --set may have given"
    )
    assert b"Traceback" not in shown
    assert tasks_of(run) == []
    assert status(endless.parent, run)["state"] == "cancelled"
    assert {one.beat.end for one in attempts(run)} <= {"done", "stopped"}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.thorough)])
def test_terminated_it_stops_its_tasks_too(endless: Path, number: int) -> None:
    run = run_of(endless)
    process = start(endless.parent, "run", endless.name)
    wait_for_progress(run, process)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert tasks_of(run) == []


def test_no_task_outlives_a_launcher_that_was_killed(patient: Path) -> None:
    run = run_of(patient)
    process = start(patient.parent, "run", patient.name)
    wait_for_progress(run, process)
    kill(process)
    wait_until(lambda: tasks_of(run) == [])
    found = launcher(patient.parent, "status", "toy")
    assert f"submission 1 failed: the launcher (process {process.pid}) died" in found.stdout
    assert "next: launcher rerun toy" in found.stdout
    assert status(patient.parent, run)["state"] == "incomplete"  # nobody has cancelled it
    hurry(patient)
    assert launcher(patient.parent, "run", patient.name).returncode == 0


@pytest.mark.thorough
def test_no_task_outlives_a_killed_executor_and_the_run_resumes(patient: Path) -> None:
    run = run_of(patient)
    launcher(patient.parent, "submit", patient.name)
    wait_for_progress(run)
    os.kill(executor_pid(run), signal.SIGKILL)
    wait_until(lambda: tasks_of(run) == [])
    found = StatusReader(run).read()
    assert (found.state in ("incomplete", "failed"), found.is_abandoned) == (True, True)
    hurry(patient)
    assert launcher(patient.parent, "run", patient.name).returncode == 0


def tasks_at_work(run: RunDir) -> list[psutil.Process]:
    """The supervisors of array tasks that have done something and go on."""
    begun = [one for one in attempts(run) if one.beat.done and not one.is_over]
    return alive(
        [psutil.Process(one.start.process["pid"]) for one in begun if one.start and _is_there(one.start.process)]
    )


def _is_there(process: Mapping[str, Any]) -> bool:
    return psutil.pid_exists(process["pid"])


def test_others_take_the_rows_of_a_task_that_is_killed(patient: Path) -> None:
    run = run_of(patient)
    launcher(patient.parent, "submit", patient.name)
    wait_until(lambda: len(tasks_at_work(run)) == 2)
    victim = tasks_at_work(run)[0]
    victim.kill()
    hurry(patient)
    assert launcher(patient.parent, "status", "toy", "--watch").returncode == 0
    assert run.submission_numbers() == [1]
    assert done_rows(run) == Spans([(0, 200)])
    (dead,) = (one for one in attempts(run) if not one.is_over)
    assert dead.start
    assert dead.start.process["pid"] == victim.pid
    assert json.loads(run.outcome(1).read_text())["failures"] == {}


def test_what_is_open_when_all_tasks_were_killed_is_tried_again(patient: Path) -> None:
    run = run_of(patient)
    launcher(patient.parent, "submit", patient.name)
    wait_until(lambda: len(tasks_at_work(run)) == 2)
    for victim in tasks_at_work(run):
        victim.suspend()  # so that none of them sees that another one is gone
    for one in attempts(run):
        assert one.start
        psutil.Process(one.start.process["pid"]).kill()
    hurry(patient)
    assert launcher(patient.parent, "status", "toy", "--watch").returncode == 0
    assert run.submission_numbers() == [1, 2]
    first = union(one.beat.done for one in Attempts(run, 1).read())
    assert newest(run).rows == Spans([(0, 200)]) - first
    assert newest(run).tasks == 2
    failures = json.loads(run.outcome(1).read_text())["failures"]
    assert {failure["kind"] for failure in failures.values()} == {"CRASH"}


def test_attempts_are_limited(tmp_path: Path) -> None:
    config = write_config(tmp_path, rows=8, shards=1, job="DyingSetup", retry={"attempts": 2})
    done = launcher(tmp_path, "run", config.name, "--json")
    assert done.returncode == 1
    (failure,) = document(done)["failures"]
    assert failure["kind"] == "CRASH"
    assert run_of(config).submission_numbers() == [1, 2]


def test_an_error_of_the_job_is_reported_and_not_tried_again(tmp_path: Path) -> None:
    config = write_config(tmp_path, job="BadSetup")
    done = launcher(tmp_path, "run", config.name, "--json")
    assert done.returncode == 1
    (failure,) = document(done)["failures"]
    assert (failure["kind"], failure["shards"]) == ("ERROR", [0, 1, 2, 3])
    assert "no such model" in failure["message"]
    assert run_of(config).submission_numbers() == [1]


def test_cancel_stops_everything_and_keeps_what_is_done(endless: Path) -> None:
    run = run_of(endless)
    launcher(endless.parent, "submit", endless.name)
    wait_for_progress(run)
    done = launcher(endless.parent, "cancel", "toy", "--json")
    assert (done.returncode, document(done)["cancelled"]) == (0, [1])
    assert tasks_of(run) == []
    found = status(endless.parent, run)
    assert found["state"] == "cancelled"
    assert found["samples"]["ok"] >= 8
    again = launcher(endless.parent, "cancel", "toy", "--json")
    assert (again.returncode, document(again)["cancelled"]) == (0, [])


@pytest.mark.thorough
def test_cancel_spares_a_process_that_got_the_pid_later(config: Path) -> None:
    run = run_of(config)
    launcher(config.parent, "run", config.name)
    bystander = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    pid = executor_pid(run)
    run.submission(1).with_suffix(".outcome").unlink()
    record = checked_json.decode(run.submission(1).read_bytes())
    record["process"]["pid"] = bystander.pid
    run.submission(1).write_bytes(checked_json.encode(record))
    assert pid != bystander.pid
    assert launcher(config.parent, "cancel", "toy").returncode == 0
    assert bystander.poll() is None
    bystander.communicate()


@pytest.mark.thorough
def test_an_executor_that_breaks_down_ends_its_own_submission_and_no_other(config: Path) -> None:
    run = run_of(config)
    launcher(config.parent, "run", config)
    run.submission(2).write_text(run.submission(1).read_text())  # another launcher's
    run.outcome(1).unlink()
    run.plan.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "launcher.local", run.path, "1"],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "plan.json: cut short or damaged" in json.loads(run.outcome(1).read_text())["error"]
    assert not run.outcome(2).exists()


def test_rerun_runs_what_is_not_done_and_nothing_else(tmp_path: Path) -> None:
    config = write_config(tmp_path, params={"bad": {"30": "raise"}})
    run = run_of(config)
    assert launcher(tmp_path, "run", config.name).returncode == 1
    assert status(tmp_path, run)["shards"] == {"total": 4, "done": 3, "running": 0, "pending": 0, "failed": 1}
    done = launcher(tmp_path, "rerun", "toy", "--set", "node.max_failed_samples=1", "--json")
    assert document(done)["shards"] == [1]
    assert launcher(tmp_path, "status", "--watch").returncode == 0
    assert newest(run).node.max_failed_samples == 1
    assert status(tmp_path, run)["samples"] == {"total": 100, "ok": 99, "failed": 1, "missing": 0}


@pytest.mark.thorough
def test_the_budget_that_is_advised_suffices_whatever_of_the_shard_came_last(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in (3, 20, 30, 44)}
    write_config(tmp_path, 45, shards=1, params={"bad": bad}, node={"batch_size": 16, "max_failed_samples": 0.01})
    done = launcher(tmp_path, "run", "config.yaml")
    assert done.returncode == 1
    assert "41 ok, 4 failed of 45 samples" in done.stdout
    (advised,) = set(re.findall(r"--set (node.max_failed_samples=\d+)", done.stdout))
    assert launcher(tmp_path, "run", "config.yaml", "--set", advised).returncode == 0


def test_settings_of_a_rerun_hold_for_the_next_one(tmp_path: Path) -> None:
    config = write_config(tmp_path, job="BadSetup")
    launcher(tmp_path, "run", config.name)
    for more in (["--set", "node.workers=0"], []):
        launcher(tmp_path, "rerun", "toy", *more)
        launcher(tmp_path, "status", "--watch")
    assert newest(run_of(config)).node.workers == 0


def test_rerun_of_named_shards_tries_failed_samples_again(tmp_path: Path) -> None:
    marker = tmp_path / "repaired"
    config = write_config(
        tmp_path,
        job="tests.example_jobs.mended_jobs:FailsUntil",
        params={"marker": str(marker)},
        node={"max_failed_samples": 1},
    )
    run = run_of(config)
    assert launcher(tmp_path, "run", config.name).returncode == 0
    assert status(tmp_path, run)["samples"]["failed"] == 1
    marker.touch()
    done = launcher(tmp_path, "rerun", "toy", "--shards", "0-3", "--json")
    assert document(done)["shards"] == [0]
    assert "1-3" in done.stderr
    assert launcher(tmp_path, "status", "--watch").returncode == 0
    assert status(tmp_path, run)["samples"] == {"total": 100, "ok": 100, "failed": 0, "missing": 0}


@pytest.mark.thorough
def test_rerun_of_a_damaged_shard_repairs_it(config: Path) -> None:
    run = run_of(config)
    launcher(config.parent, "run", config.name)
    good = content(run, 2)
    damage(run, 50, "y")
    found = launcher(config.parent, "verify", "toy")
    assert found.returncode == 1
    assert "launcher rerun toy --shards 2" in found.stdout
    assert document(launcher(config.parent, "rerun", "toy", "--shards", "1,2", "--json"))["shards"] == [2]
    assert launcher(config.parent, "status", "--watch").returncode == 0
    assert content(run, 2) == good
    assert launcher(config.parent, "verify", "toy").returncode == 0


def test_a_damaged_shard_stops_the_gather_and_says_what_to_do(config: Path) -> None:
    run = run_of(config)
    launcher(config.parent, "run", config.name)
    damage(run, 50, "y")
    failed = launcher(config.parent, "gather", "toy")
    assert failed.returncode == 1
    assert "--shards 2" in failed.stderr
    kept = launcher(config.parent, "gather", "toy", "--allow-missing")
    assert kept.returncode == 1
    assert "stays as it is" in kept.stderr
    run.result.unlink()
    partial = launcher(config.parent, "gather", "toy", "--allow-missing", "--json")
    assert partial.returncode == 1
    assert document(partial)["complete"] is False


@pytest.mark.thorough
def test_what_verify_advises_works_where_attempts_are_gone(config: Path) -> None:
    run = run_of(config)
    launcher(config.parent, "run", config.name)
    shutil.rmtree(run.attempts)
    found = launcher(config.parent, "verify", "toy")
    assert found.returncode == 1
    assert "next: launcher rerun toy, which computes what is missing; until then the result stays" in found.stdout
    launcher(config.parent, "rerun", "toy")
    assert launcher(config.parent, "status", "--watch").returncode == 0
    assert launcher(config.parent, "verify", "toy").returncode == 0


def test_logs_hold_all_attempts_of_a_shard(tmp_path: Path) -> None:
    config = write_config(tmp_path, rows=8, shards=1, job="DyingSetup", retry={"attempts": 2})
    launcher(tmp_path, "run", config.name)
    text = launcher(tmp_path, "logs", "toy", 0).stdout
    assert text.count("samples 0 to 7: 8 to do") == 2
    told = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("==> "))
    assert document(launcher(tmp_path, "logs", "toy", 0, "--json"))["text"] == told


@pytest.mark.thorough
def test_logs_are_followed_to_the_end_of_the_shard(slow: Path) -> None:
    launcher(slow.parent, "submit", slow.name)
    followed = launcher(slow.parent, "logs", "toy", 3, "-f")
    assert followed.returncode == 0
    assert "done: " in followed.stdout
    launcher(slow.parent, "status", "--watch")


def test_the_submission_is_written_before_anything_starts(config: Path) -> None:
    run = run_of(config)
    launcher(config.parent, "run", config.name)
    created = Submission.read(run.submission(1)).created
    assert created <= min(one.start.time for one in attempts(run) if one.start)
