"""What every executor must do: a class of tests that each of them passes (test_executors.py).

A test module gives the name, and what is to be there before:

    class TestMine(ExecutorTests):
        name = "mine"

        @pytest.fixture(autouse=True)
        def here(self): ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.errors import InputError, RunError
from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from launcher.config.config import Config, load_config
from launcher.executors import AUTO, EXECUTORS, Executor, Limits, Observation, choose_executor
from launcher.plan.plan import make_plan
from launcher.runs.failures import FailureGroup, advice
from launcher.runs.submissions import Outcome, create
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.submit.cancel import cancel_run
from launcher.submit.submit import Selection, record, select_rows, submit
from tests.support.launcher_runs import ROOT, newest, wait_until, write_config

ROWS, SHARDS = 48, 3
ALL = Spans([(0, ROWS)])


class Planned:
    """A planned run of 3 shards of 16 rows, and the executor that is to run it."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.config: Config = load_config(path)
        self.run: RunDir = make_plan(self.config).run
        self.executor: Executor = choose_executor(self.config.executor)

    def select(self) -> Selection:
        return select_rows(self.run, Plan.read(self.run.plan))

    def submit(self) -> list[Submission]:
        return submit(self.run, self.config, self.select())

    @property
    def submissions(self) -> list[Submission]:
        return [Submission.read(self.run.submission(number)) for number in self.run.submission_numbers()]

    @property
    def attempts(self) -> list[Attempt]:
        return Attempts(self.run).read()

    def await_commits(self) -> None:
        """Waits until something is done, and somebody is at more."""
        wait_until(lambda: any(one.beat.done and not one.is_over for one in self.attempts))

    def end(self) -> Status:
        """The status once nothing goes on by itself, and the executor has nothing left of it; a slow one hurries now."""
        (self.folder / "hurry").touch()
        reader = StatusReader(self.run)
        wait_until(lambda: reader.read().state != "running")
        wait_until(lambda: not self.executor.recover(self.run, self.submissions))
        return reader.read()


class ExecutorTests:
    """Tests of the executor ``name``; ``sections`` are those of the config that it needs."""

    name: str
    sections: Mapping[str, Any] = {}

    @pytest.fixture(autouse=True)
    def _importable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def _planned(self, folder: Path, **params: Any) -> Planned:
        return Planned(
            write_config(
                folder, ROWS, shards=SHARDS, params=params, node={"batch_size": 4}, executor=self.name, **self.sections
            )
        )

    @pytest.fixture
    def toy(self, here: None, tmp_path: Path) -> Planned:
        return self._planned(tmp_path)

    @pytest.fixture
    def slow(self, here: None, tmp_path: Path) -> Planned:
        """A run with a commit four times a shard, which takes its time until it is waited for."""
        return self._planned(tmp_path, delay=0.3, hurry=str(tmp_path / "hurry"))

    @pytest.fixture
    def executor(self, here: None) -> Executor:
        return choose_executor(self.name)

    # --- before anything is submitted

    def test_it_is_found_by_the_name_that_it_gives_its_submissions(self, executor: Executor) -> None:
        assert executor.name == self.name
        assert self.name in EXECUTORS
        assert self.name != AUTO
        assert executor.title

    def test_a_submission_has_one_array_task_at_least_and_no_more_than_shards(self, toy: Planned) -> None:
        for shards in (1, 2, SHARDS, 1_000_000):
            assert 1 <= toy.executor.tasks(toy.config, shards) <= shards
        made = record(toy.run, toy.config, ALL)
        assert (made.rows, made.tasks) == (ALL, toy.executor.tasks(toy.config, SHARDS))
        assert [row for range_ in sorted(made.ranges) for row in range(*range_)] == list(range(ROWS))

    def test_what_probe_asks_is_answered(self, toy: Planned) -> None:
        limits = toy.executor.limits(toy.config, 5)
        assert isinstance(limits, Limits)
        assert min(limits.largest_array, limits.largest_queue, limits.at_a_time or 1) >= 1
        assert toy.executor.visible_gpus(toy.config, 0) in (None, 0)

    def test_resources_are_told_in_words_and_kept_as_json(self, toy: Planned) -> None:
        assert all(isinstance(line, str) and line for line in toy.executor.describe(toy.config))
        made = record(toy.run, toy.config, ALL)
        assert Submission.read(toy.run.submission(made.number)).resources == made.resources

    def test_more_memory_and_time_are_overrides_or_bad_input(self, executor: Executor) -> None:
        assert executor.limit_overrides(None, None) == []
        try:
            overrides = executor.limit_overrides("4G", "10")
        except InputError:
            pytest.skip("this executor has no such limits")
        assert [override.partition("=")[2] for override in overrides] == ["4G", "10"]

    def test_advice_is_a_command_that_can_be_pasted(self, executor: Executor) -> None:
        for kind in executor.advice:
            text = advice(FailureGroup(kind, "m", Spans.of_numbers([3, 7]), 0), "runs/x", executor.advice)
            assert "launcher rerun runs/x" in text
            assert "{" not in text

    def test_a_script_is_written_where_there_are_scripts(self, toy: Planned) -> None:
        if toy.executor.scripts is None:
            pytest.skip("this executor has no scripts")
        made = record(toy.run, toy.config, ALL, planned=True)
        script = toy.executor.scripts.write(toy.run, made)
        assert str(toy.run.path) in script.read_text()
        assert toy.executor.scripts.check(script) != ""
        assert toy.executor.recover(toy.run, [made]) == set()

    # --- submissions

    def test_of_no_submission_there_is_nothing(self, toy: Planned) -> None:
        assert toy.executor.recover(toy.run, []) == set()
        assert toy.executor.observe(toy.run, []) == Observation()

    def test_start_records_where_the_submission_is_and_runs_it_to_the_result(self, slow: Planned) -> None:
        (made,) = slow.submit()
        assert (made.number, made.executor, made.rows) == (1, self.name, ALL)
        assert newest(slow.run) == made
        assert made.job_ids or made.process
        words = slow.executor.place(made)
        assert any(name in words for name in (*made.job_ids, str((made.process or {}).get("pid"))))
        assert not slow.run.result.exists()  # it returned at once
        found = slow.end()
        assert (found.state, found.ok, found.missing) == ("complete", ROWS, 0)
        assert len({one.name.rpartition("-")[0] for one in slow.attempts}) == len(slow.attempts)  # once each task

    def test_what_goes_on_is_active_and_observed_until_it_has_ended(self, slow: Planned) -> None:
        made = slow.submit()
        assert slow.executor.recover(slow.run, made) == {1}
        seen = slow.executor.observe(slow.run, made)
        assert seen.active == {1}
        assert (sum(seen.entries.values()) > 0) == slow.executor.is_polled
        slow.end()
        assert slow.executor.observe(slow.run, made) == Observation()
        outcome = Outcome.read(slow.run, 1)
        assert outcome is not None
        assert (outcome.cancelled, outcome.failures, outcome.error) == (False, {}, None)

    def test_shards_in_its_hands_are_not_submitted_again(self, slow: Planned) -> None:
        (made,) = slow.submit()
        assert slow.select().running == Spans([(0, SHARDS)])
        with pytest.raises(RunError, match="waits or runs already"):
            slow.submit()
        with pytest.raises(RunError, match="submission 1 is running these shards"):
            create(slow.run, made)  # as of a launcher that looked before the first one had written
        assert slow.run.submission_numbers() == [1]
        assert slow.end().state == "complete"

    def test_cancel_stops_all_and_what_is_done_stays(self, slow: Planned) -> None:
        slow.submit()
        slow.await_commits()
        pids = [one.start.process["pid"] for one in slow.attempts if one.start]
        tasks = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        assert cancel_run(slow.run) == [1]
        assert all(not task.is_running() or task.status() == psutil.STATUS_ZOMBIE for task in tasks)
        assert slow.executor.recover(slow.run, slow.submissions) == set()
        found = StatusReader(slow.run).read()
        assert (found.state, found.ok >= 4, found.missing > 0) == ("cancelled", True, True)
        (again,) = slow.submit()
        assert again.number == 2
        assert slow.end().state == "complete"
        first, second = (union(one.beat.done for one in slow.attempts if one.submission == n) for n in (1, 2))
        assert (first & second, first | second) == (Spans(), ALL)

    def test_cancel_of_what_does_not_run_is_false(self, toy: Planned) -> None:
        toy.submit()
        toy.end()
        assert toy.executor.cancel(toy.run, newest(toy.run)) is False
        assert cancel_run(toy.run) == []
        assert StatusReader(toy.run).read().state == "complete"

    def test_a_task_that_is_killed_leaves_its_rows_to_others(self, slow: Planned) -> None:
        slow.submit()
        slow.await_commits()
        victim = next(one for one in slow.attempts if one.beat.done and not one.is_over)
        assert victim.start
        psutil.Process(victim.start.process["pid"]).kill()
        assert slow.end().state == "complete"
        assert union(one.beat.done for one in slow.attempts) == ALL
        last = next(one for one in slow.attempts if one.name == victim.name)
        assert not last.is_over

    def test_what_is_left_when_all_tasks_were_killed_is_tried_again_within_the_policy(self, slow: Planned) -> None:
        (made,) = slow.submit()
        killed: set[int] = set()

        def kill_another() -> bool:
            begun = {one.start.process["pid"] for one in slow.attempts if one.start and one.submission == 1}
            for pid in begun - killed:
                psutil.Process(pid).kill()
                killed.add(pid)
            return len(killed) == made.tasks

        wait_until(kill_another)
        assert slow.end().state == "complete"
        outcome = Outcome.read(slow.run, 1)
        assert outcome
        assert {failure.kind for failure in outcome.failures.values()} == {"CRASH"}
        done = union(one.beat.done for one in slow.attempts if one.submission == 1)
        assert newest(slow.run).rows == ALL - done
