"""How two runs that overlap end, and what each end does for the other one: nothing waits for a person in vain."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from jobs.kinds import RunState
from tests.example_jobs.gated_jobs import OPEN
from tests.launcher.submit import test_overlaps
from tests.launcher.submit.test_overlaps import (
    GATED,
    assert_right,
    done,
    finished,
    go,
    shown,
    state,
    status,
    taken,
    times_done,
)
from tests.support.chains import run_in, write_run
from tests.support.instant_executor import command
from tests.support.launcher_runs import executor_pid, start, wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import runs

chain = test_overlaps.chain

HELD = """
import time
from pathlib import Path
from tests.example_jobs.gated_jobs import Take

class Held(Take):
    def load(self, sample):
        while not Path("free").exists():
            time.sleep(0.01)
        return super().load(sample)
"""


def in_work() -> None:
    done("submit", "first.yaml", "second.yaml")
    wait_until(lambda: status("second").ok == OPEN)


@pytest.mark.thorough
def test_it_waits_though_somebody_submits_it_once_more() -> None:
    in_work()
    code, said = command("submit", "second.yaml")
    assert code == 1
    assert "all that is not done waits or runs already" in said
    done("cancel", "first")
    finished("second")
    go()
    done("rerun", "first")
    finished("first", "second")
    assert_right()


@pytest.mark.thorough
def test_one_that_is_started_while_it_is_complete_waits_for_what_is_done_again() -> None:
    """All samples of the first run are done, but too many failed; so the second one may have all of its own."""
    Path("bad").write_text("3 30")
    go()
    write_run(Path.cwd(), "first", "data.csv", GATED, node={"max_failed_samples": 0})
    done("submit", "first.yaml", "second.yaml")
    finished("first", "second")
    assert (state("first"), state("second")) == (RunState.FAILED, RunState.COMPLETE)
    Path("bad").write_text("")
    done("rerun", "first")
    finished("first")
    wait_until(lambda: len(status("second").submissions) == 2)
    finished("second")
    assert_right()


def test_what_cannot_wait_leaves_no_submission(tmp_path: Path) -> None:
    done("submit", "first.yaml")
    run_in(tmp_path, "first").downstream.symlink_to("nowhere")  # as where it cannot be written
    code, said = command("run", "second.yaml")
    assert code == 2
    assert "so second cannot wait for first" in said
    assert state("second") is RunState.PLANNED, shown("second")
    assert not run_in(tmp_path, "second").submission_numbers()


def test_one_that_was_told_to_stop_does_not_go_on_by_itself(tmp_path: Path) -> None:
    (tmp_path / "held.py").write_text(HELD)
    write_run(tmp_path, "second", taken("first"), "held:Held")
    go()
    done("submit", "first.yaml", "second.yaml")
    finished("first")
    assert state("first") is RunState.COMPLETE
    run = run_in(tmp_path, "second")
    wait_until(lambda: not runs(executor_pid(run_in(tmp_path, "first"))))  # it has seen that the second one is at work
    os.kill(process := executor_pid(run), signal.SIGTERM)
    wait_until(lambda: not runs(process))
    assert len(run.submission_numbers()) == 1
    assert state("second") is RunState.CANCELLED
    Path("free").touch()
    done("rerun", "second")
    finished("second")
    assert_right()


@pytest.mark.thorough
def test_array_tasks_that_were_killed_are_followed_by_others_while_the_other_run_goes_on(tmp_path: Path) -> None:
    in_work()
    run = run_in(tmp_path, "second")
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        if str(run.path) in words and "jobs" in words:
            process.kill()
    wait_until(lambda: len(run.submission_numbers()) == 2)
    assert state("second") is RunState.RUNNING
    go()
    finished("first", "second")
    assert_right()
    assert times_done("second").max() == 1
    assert len(run.submission_numbers()) == 2
    wait_until(lambda: status("second").chain.waiting is None)


def test_one_that_is_interrupted_in_the_foreground_does_not_begin_again_with_the_end_of_the_other(
    tmp_path: Path,
) -> None:
    done("plan", "first.yaml")
    done("plan", "second.yaml")
    done("submit", "first")
    process = start(tmp_path, "run", "second.yaml")
    wait_until(lambda: status("second").ok == OPEN)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert "to go on: launcher run second" in said
    go()
    finished("first", "second")
    assert state("second") is RunState.CANCELLED
    assert status("second").chain.waiting is None
    done("run", "second.yaml")
    assert_right()
