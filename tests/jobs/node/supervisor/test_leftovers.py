"""Nothing hangs and nothing stays behind: what Jobs start and forget, how they leave, tasks that are stopped or suspended."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jobs.storage.attempts import read_records
from jobs.storage.beats import Beat
from tests.example_jobs.leaving_jobs import KINDS
from tests.support.launcher_runs import command as launcher_command
from tests.support.launcher_runs import environment, launcher, wait_until, write_config
from tests.support.patience import PATIENCE
from tests.support.task_runs import alive, attempts, command, failures, last_end, make_run, results, run_task

JOBS = "tests.example_jobs.leaving_jobs:"
# What one child starts.
EACH = len(KINDS)


@pytest.fixture
def mark() -> str:
    """Seconds to sleep that no other program of this machine sleeps."""
    return f"{1000 + int.from_bytes(os.urandom(4)) / 2**32 * 1000:.9f}"


def sleepers(mark: str) -> list[psutil.Process]:
    found = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", mark]]
    return alive(found)


def test_a_job_that_forgets_what_it_started_leaves_nothing(tmp_path: Path, mark: str) -> None:
    run = make_run(tmp_path, f"{JOBS}Forgetful", 32, params={"mark": mark}, workers=1)
    assert run_task(run).returncode == 0
    assert sleepers(mark) == []


def test_a_sample_over_its_time_takes_along_what_it_started(tmp_path: Path, mark: str) -> None:
    settings = {"workers": 1, "sample_timeout": 1, "max_failed_samples": 1}
    run = make_run(tmp_path, f"{JOBS}Forgetful", 8, params={"mark": mark, "hang": 3}, **settings)
    done = run_task(run)
    assert done.returncode == 0
    assert {row: (found.kind, found.message) for row, found in failures(run).items()} == {
        3: ("SAMPLE_TIMEOUT", "took longer than sample_timeout (1 s)")
    }
    assert "pool worker 0 took longer than sample_timeout (1 s), and was killed at sample 3" in done.stdout
    assert sleepers(mark) == []


def _kill_worker(task: psutil.Process) -> None:
    """A pool worker, that is: what is below the second guardian."""
    server = task.children()[0]
    max(server.children(), key=psutil.Process.create_time).children()[0].kill()


def _kill_guardians(task: psutil.Process) -> None:
    for guardian in task.children()[0].children():
        guardian.kill()


@pytest.mark.parametrize("kill", [_kill_worker, _kill_guardians])
def test_killed_children_take_along_what_they_started(
    tmp_path: Path, mark: str, kill: Callable[[psutil.Process], None]
) -> None:
    gate = tmp_path / "gate"
    params = {"mark": mark, "gate": str(gate)}
    run = make_run(tmp_path / "run", f"{JOBS}Forgetful", 8, params=params, workers=1)
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL) as task:
        wait_until(lambda: len(sleepers(mark)) == 2 * EACH)
        first = sleepers(mark)
        kill(psutil.Process(task.pid))
        wait_until(lambda: len(alive(first)) <= EACH)
        gate.touch()
        assert task.wait(PATIENCE) == 0
    assert failures(run) == {}
    assert sleepers(mark) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_task_that_is_ended_takes_along_all_that_was_started(
    tmp_path: Path, mark: str, number: signal.Signals
) -> None:
    params = {"mark": mark, "gate": str(tmp_path / "gate")}
    run = make_run(tmp_path / "run", f"{JOBS}Forgetful", 8, params=params, workers=1)
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL) as task:
        wait_until(lambda: len(sleepers(mark)) == 2 * EACH)
        tree = psutil.Process(task.pid).children(recursive=True)
        task.send_signal(number)
        assert task.wait(PATIENCE) in (75, -signal.SIGKILL)
    wait_until(lambda: not sleepers(mark) and not alive(tree))


_OTHERS = [
    pytest.param(number, marks=pytest.mark.thorough) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
]


@pytest.mark.parametrize("number", [signal.SIGKILL, *_OTHERS])
def test_a_local_run_that_is_ended_takes_along_all_that_was_started(
    tmp_path: Path, mark: str, number: signal.Signals
) -> None:
    params = {"mark": mark, "gate": str(tmp_path / "gate")}
    write_config(tmp_path, 8, shards=1, job=f"{JOBS}Forgetful", params=params)
    words = launcher_command("run", "config.yaml")
    with subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) as run:
        wait_until(lambda: len(sleepers(mark)) == 2 * EACH)
        tree = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(number)
        assert run.wait(PATIENCE) in (130, -number)
    wait_until(lambda: not sleepers(mark) and not alive(tree))


def test_sigterm_ends_what_a_job_forks(tmp_path: Path) -> None:
    run = make_run(tmp_path, f"{JOBS}Terminator", 4, batch_size=2, workers=1)
    assert run_task(run).returncode == 0
    assert {name: rows.all() for name, rows in results(run).items()} == {"dead": True, "first": True}


@pytest.mark.parametrize("code", [0, *(pytest.param(code, marks=pytest.mark.thorough) for code in (69, 74, 75))])
def test_a_pool_worker_that_leaves_has_died_whatever_its_exit_code(tmp_path: Path, code: int) -> None:
    params = {"code": code, "been_here": str(tmp_path / "been-here")}
    run = make_run(tmp_path / "run", f"{JOBS}Leaver", 32, params=params, workers=1)
    done = run_task(run)
    assert done.returncode == 0
    assert f"died of exit code {code}" in done.stdout


def test_while_the_job_is_imported_beats_go_out_and_a_signal_ends_the_task(tmp_path: Path) -> None:
    run = make_run(tmp_path, f"{JOBS}Gated", 8, params={"gate": "/"}, workers=1, sync_interval=0.5)
    with subprocess.Popen(command(run), env={**os.environ, "SLOW_IMPORT": "600"}) as task:
        wait_until(lambda: len(attempts(run)) == 1)
        (attempt,) = attempts(run)
        wait_until(lambda: sum(isinstance(record, Beat) for record in read_records(attempt.journal)) > 3)
        tree = psutil.Process(task.pid).children(recursive=True)
        task.terminate()
        assert task.wait(PATIENCE) == 75
    assert last_end(run).end == "stopped"
    wait_until(lambda: not alive(tree))


def test_a_teardown_is_waited_for(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", f"{JOBS}Slow", 8, params={"seconds": 6, "folder": str(tmp_path)}, workers=1)
    assert run_task(run).returncode == 0
    assert len(list(tmp_path.glob("done-*"))) == len(list(tmp_path.glob("begun-*"))) == 2


def test_a_teardown_that_a_signal_cuts_off_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", f"{JOBS}Slow", 8, params={"seconds": 600, "folder": str(tmp_path)}, workers=1)
    with subprocess.Popen(command(run), stdout=subprocess.PIPE, text=True) as task:
        wait_until(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
        task.terminate()
        assert task.stdout
        said = task.stdout.read()
        assert task.wait(PATIENCE) == 0  # all was done
    assert "process 0: teardown() is cut off after" in said
    assert "process 0, pool worker 0: teardown() is cut off after" in said


def test_a_teardown_is_of_what_was_set_up_and_what_it_raises_is_a_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", f"{JOBS}Paired", 8, params={"folder": str(tmp_path)}, workers=1)
    done = run_task(run)
    assert (done.returncode, len(list(tmp_path.glob("torn-down-*")))) == (0, 1)
    assert " p0 teardown() raised OSError: engine is gone, at " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_could_not_be_set_up_is_not_torn_down(tmp_path: Path) -> None:
    params = {"folder": str(tmp_path), "broken": True}
    run = make_run(tmp_path / "run", f"{JOBS}Paired", 8, params=params, workers=1)
    assert run_task(run).returncode == 1
    assert not list(tmp_path.glob("torn-down-*"))


def test_threads_and_processes_that_a_job_leaves_do_not_hold_up_the_end(tmp_path: Path) -> None:
    params = {"seconds": 0, "folder": str(tmp_path), "leave": True}
    run = make_run(tmp_path / "run", f"{JOBS}Slow", 8, params=params, workers=0)
    done = run_task(run)
    assert done.returncode == 0
    assert "left running are cut off" in done.stderr
    (torn_down,) = tmp_path.glob("done-*")
    assert time.time() - torn_down.stat().st_mtime < 20  # what tears down itself has 30 s


def test_time_in_which_a_task_is_suspended_is_no_samples(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    settings = {"workers": 1, "sample_timeout": 4}
    run = make_run(tmp_path / "run", f"{JOBS}Gated", 8, params={"gate": str(gate)}, **settings)
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL) as task:
        wait_until(lambda: len(psutil.Process(task.pid).children(recursive=True)) == 5)
        tree = [psutil.Process(task.pid), *psutil.Process(task.pid).children(recursive=True)]
        for _ in range(2):
            for process in tree:
                process.suspend()
            time.sleep(3)  # together with what it runs, more than sample_timeout
            for process in tree:
                process.resume()
        gate.touch()
        assert task.wait(PATIENCE) == 0
    assert failures(run) == {}
    assert [attempt.beat.failed for attempt in attempts(run)] == [0]


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-pf", "true"], capture_output=True).returncode != 0,
    reason="needs the right to make a namespace of processes",
)
def test_the_launcher_works_as_the_first_process_of_a_container(tmp_path: Path) -> None:
    write_config(tmp_path, 32, shards=1)
    words = ["unshare", "-pf", "--mount-proc", *launcher_command("run", "config.yaml")]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert launcher(tmp_path, "status", "toy", "--json").returncode == 0
