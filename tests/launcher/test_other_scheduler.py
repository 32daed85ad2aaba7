"""A run on a scheduler that the launcher has never heard of: the real commands, real array tasks, a queue in memory."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from launcher.cli import main
from launcher.runs.submissions import Outcome, create
from launcher.status.reader import StatusReader
from tests.support.launcher_runs import ROOT, newest, run_of, wait_until, write_config
from tests.support.memory_executor import MemoryScheduler, memory_scheduler
from tests.support.task_runs import results

ALL_OK = {"total": 100, "ok": 100, "failed": 0, "missing": 0}


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryScheduler]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with memory_scheduler() as made:
        yield made


class Commands:
    """The launcher's commands on one run, in this process."""

    def __init__(self, config: Path, output: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self._output = output

    @property
    def run(self) -> RunDir:
        return run_of(self.config)

    def say(self, *arguments: object, code: int = 0) -> str:
        """Runs a command; returns what it printed."""
        assert main(list(map(str, arguments))) == code
        return "".join(self._output.readouterr())

    def tell(self, command: str, *flags: str, code: int = 0) -> Mapping[str, Any]:
        """Runs a command on the run; returns its document."""
        assert main([command, str(self.run.path), *flags, "--json"]) == code
        found: Mapping[str, Any] = json.loads(self._output.readouterr().out)
        return found

    def submit(self) -> str:
        return self.say("submit", self.config)

    def end(self) -> Mapping[str, Any]:
        """The status once nothing goes on by itself; from now on a slow one hurries."""
        (self.config.parent / "hurry").touch()
        reader = StatusReader(self.run)
        wait_until(lambda: reader.read().state != "running")
        return self.tell("status", code=0 if reader.read().state == "complete" else 1)

    @property
    def attempts(self) -> list[Attempt]:
        return Attempts(self.run).read()

    def await_commits(self) -> Attempt:
        """An attempt that has done something and goes on."""
        wait_until(lambda: any(one.beat.done and not one.is_over for one in self.attempts))
        return next(one for one in self.attempts if one.beat.done and not one.is_over)


@pytest.fixture
def toy(scheduler: MemoryScheduler, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(write_config(tmp_path, executor="memory"), capsys)


@pytest.fixture
def slow(scheduler: MemoryScheduler, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """A run that takes its time until it is waited for."""
    params = {"delay": 0.2, "hurry": str(tmp_path / "hurry")}
    return Commands(write_config(tmp_path, params=params, executor="memory"), capsys)


@pytest.fixture
def endless(scheduler: MemoryScheduler, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(write_config(tmp_path, rows=8000, params={"delay": 0.05}, executor="memory"), capsys)


def test_a_plan_says_what_will_run_it_and_has_no_script(toy: Commands) -> None:
    said = toy.say("plan", toy.config)
    assert "executor: memory" in said
    assert "array task: a process of the tests, 2 at a time" in said
    assert toy.run.submission_numbers() == []


def test_a_submitted_run_goes_on_to_its_result(toy: Commands) -> None:
    assert "submission 1: 4 shards, 4 array tasks, memory job m1" in toy.submit()
    found = toy.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    assert newest(toy.run).executor == "memory"
    assert toy.run.result.exists()
    assert [list(results(toy.run, shard)["y"][::4]) for shard in range(4)] == [
        [2.0 * row for row in range(first, first + 25)] for first in (0, 25, 50, 75)
    ]
    assert "intact" in toy.say("verify", toy.run.path)


def test_only_a_live_status_asks_and_shows_the_queue(scheduler: MemoryScheduler, toy: Commands) -> None:
    scheduler.holds = True
    toy.submit()
    scheduler.questions = 0
    assert "queue" not in toy.tell("status")
    assert scheduler.questions == 0
    found = toy.tell("status", "--live")
    assert found["queue"] == [{"state": "PENDING", "reason": "Held", "entries": 4}]
    assert "  the test process's queue: 4 PENDING (Held)" in toy.say("status", toy.run.path, "--live")
    assert scheduler.questions == 2
    scheduler.release()
    assert toy.end()["state"] == "complete"


def test_what_waits_or_runs_is_not_submitted_again(scheduler: MemoryScheduler, toy: Commands) -> None:
    scheduler.holds = True
    toy.submit()
    for command in ("submit", "rerun"):
        assert "waits or runs already (shards 0-3)" in toy.say(command, toy.run.path, code=1)
    assert toy.run.submission_numbers() == [1]
    scheduler.release()
    assert toy.end()["state"] == "complete"


def test_a_submission_has_as_many_tasks_as_it_takes_and_they_share_all_rows(
    scheduler: MemoryScheduler, toy: Commands
) -> None:
    scheduler.largest_array = 3
    assert "submission 1: 4 shards, 3 array tasks, memory job m1" in toy.submit()
    made = newest(toy.run)
    assert (made.tasks, len(made.ranges), made.rows) == (3, 3, Spans([(0, 100)]))
    assert toy.end()["samples"] == ALL_OK
    assert union(one.beat.done for one in toy.attempts) == made.rows


def test_what_the_queue_does_not_take_is_held_back(
    scheduler: MemoryScheduler, toy: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler.largest_queue, scheduler.holds = 4, True
    toy.submit()
    other = Commands(write_config(tmp_path / "other", executor="memory"), capsys)
    assert "the queue of the test process is full" in other.say("submit", other.config, code=1)
    assert newest(other.run).job_ids == ()
    assert other.tell("status", "--live")["state"] == "running"
    scheduler.release()
    assert toy.end()["samples"] == ALL_OK
    assert other.end()["samples"] == ALL_OK


def test_a_rerun_has_the_tasks_that_it_is_told_and_cuts_shards_for_them(
    scheduler: MemoryScheduler, slow: Commands
) -> None:
    slow.submit()
    slow.await_commits()
    slow.say("cancel", slow.run.path)
    assert "--tasks 0: must be 1 or more" in slow.say("rerun", slow.run.path, "--tasks", "0", code=2)
    slow.say("rerun", slow.run.path, "--tasks", "6")
    made = newest(slow.run)
    assert (made.tasks, len(made.ranges)) == (6, 6)
    assert slow.end()["samples"] == ALL_OK


def test_a_task_that_crashes_leaves_its_rows_to_the_others(slow: Commands) -> None:
    slow.submit()
    victim = slow.await_commits()
    assert victim.start
    psutil.Process(victim.start.process["pid"]).kill()
    found = slow.end()
    assert (found["state"], found["samples"]) == ("complete", ALL_OK)
    ends = {one.name: one.beat.end for one in slow.attempts}
    assert ends.pop(victim.name) is None
    assert set(ends.values()) == {"done"}
    assert slow.run.submission_numbers() == [1]


def test_an_attempt_that_waits_for_a_launcher_can_be_cancelled(toy: Commands) -> None:
    toy.submit()
    toy.end()
    last = newest(toy.run)
    waiting = create(toy.run, replace(last, job_ids=(), process=None, resources=replace(last.resources, attended=True)))
    assert toy.say("cancel", toy.run.path)
    outcome = Outcome.read(toy.run, waiting.number)
    assert outcome is not None
    assert outcome.cancelled


def test_a_cancelled_run_stops_and_a_rerun_goes_on_with_it(endless: Commands) -> None:
    endless.submit()
    endless.await_commits()
    assert "what is done is kept" in endless.say("cancel", endless.run.path)
    found = endless.tell("status", code=1)
    assert (found["state"], found["samples"]["ok"] > 0) == ("cancelled", True)
    assert "nothing of" in endless.say("cancel", endless.run.path)
    assert endless.tell("rerun")["shards"] == [0, 1, 2, 3]
    assert endless.tell("status", "--live")["state"] == "running"
    assert endless.tell("cancel")["cancelled"] == [2]


def test_jobs_that_got_lost_are_seen_by_asking_and_run_again(scheduler: MemoryScheduler, slow: Commands) -> None:
    slow.submit()
    slow.await_commits()
    scheduler.lose()
    found = slow.tell("status", "--live", code=1)
    assert (found["state"], {failure["kind"] for failure in found["failures"]}) == ("failed", {"LOST"})
    assert slow.tell("rerun")["shards"] == [0, 1, 2, 3]
    assert slow.end()["samples"] == ALL_OK


def test_limits_that_its_tasks_do_not_have_are_refused(toy: Commands) -> None:
    toy.say("plan", toy.config)
    assert "tasks in the test process have no limits" in toy.say("rerun", toy.run.path, "--mem", "64G", code=2)


def test_a_result_is_gathered_by_hand(toy: Commands) -> None:
    toy.submit()
    toy.end()
    toy.run.result.unlink()
    assert "100 ok, 0 failed, 0 missing of 100" in toy.say("gather", toy.run.path)


def test_a_name_that_no_table_has_is_refused(
    scheduler: MemoryScheduler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(write_config(tmp_path, executor="memroy"), capsys)
    said = commands.say("plan", commands.config, code=2)
    assert "must be 'auto', 'slurm', 'local' or 'memory', not \"memroy\"" in said
