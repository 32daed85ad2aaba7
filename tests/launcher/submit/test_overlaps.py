"""Runs that take the samples of another one while that goes on, with real processes of the local executor."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs.kinds import RunState
from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.spans import Spans, union
from jobs.storage.upstreams import Upstream
from launcher import results
from launcher.runs.downstream import how_it_waits
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from tests.example_jobs.gated_jobs import OPEN
from tests.support.chains import run_in, write_rows, write_run
from tests.support.instant_executor import command
from tests.support.launcher_runs import start, wait_until

ROWS = 64
GATED, TAKE = (f"tests.example_jobs.gated_jobs:{name}" for name in ("Gated", "Take"))


@pytest.fixture(autouse=True)
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, "first", write_rows(tmp_path, ROWS), GATED)
    write_run(tmp_path, "second", taken("first"), TAKE)
    yield
    go()
    for name in ("second", "first"):
        command("cancel", name)


def taken(run: str, output: str = "y") -> dict[str, object]:
    return {"run": run, "outputs": [output], "failed": "keep", "overlap": True}


def done(*arguments: object) -> str:
    code, said = command(*arguments)
    assert code == 0, said
    return said


def shown(name: str) -> str:
    return command("status", name)[1]


def go() -> None:
    Path("go").touch()


def status(name: str) -> Status:
    return StatusReader(run_in(Path.cwd(), name)).read()


def state(name: str) -> RunState:
    return status(name).state


def finished(*names: str) -> None:
    wait_until(lambda: all(state(name) not in (RunState.RUNNING, RunState.PLANNED) for name in names))


def waits_no_more(name: str) -> None:
    """Its end has seen that nothing is left, which it does last."""
    run = run_in(Path.cwd(), name)
    wait_until(lambda: how_it_waits(run, Plan.read(run.plan)) is None)


def run_both() -> None:
    go()
    done("submit", "first.yaml", "second.yaml")
    finished("first", "second")
    waits_no_more("second")


def values(name: str, output: str) -> np.ndarray:
    with results.open(run_in(Path.cwd(), name).path) as found:
        return np.asarray(found[output])


def times_done(name: str) -> np.ndarray:
    """How many attempts of a run have done each row."""
    found = np.zeros(ROWS, int)
    for attempt in Attempts(run_in(Path.cwd(), name)).read():
        for first, stop in attempt.beat.done:
            found[first:stop] += 1
    return found


def assert_right(name: str = "second") -> None:
    assert state(name) == RunState.COMPLETE, shown(name)
    np.testing.assert_array_equal(values(name, "z"), 2 * np.arange(ROWS) + 1)
    assert "0 damaged" in done("verify", name)


def test_it_takes_what_is_done_while_the_other_goes_on() -> None:
    done("submit", "first.yaml", "second.yaml")
    wait_until(lambda: status("second").ok == OPEN)
    assert state("first") == state("second") == RunState.RUNNING
    said = shown("second")
    assert "  takes the samples of first as that has done them" in said
    go()
    finished("first", "second")
    assert_right()
    assert times_done("second").max() == 1
    assert len(status("second").submissions) == 1
    waits_no_more("second")


@pytest.mark.thorough
def test_one_that_waits_begins_with_the_other(tmp_path: Path) -> None:
    """And whoever comes after that, too."""
    write_run(tmp_path, "third", taken("second", "z"), "tests.example_jobs.toy_jobs:Everything")
    done("submit", "third.yaml", "second.yaml", "first.yaml")
    wait_until(lambda: status("third").ok == OPEN)
    go()
    finished("first", "second", "third")
    assert_right()
    assert state("third") == RunState.COMPLETE
    np.testing.assert_array_equal(values("third", "label"), np.arange(ROWS))


def test_it_does_not_wait_for_one_that_was_cancelled_and_goes_on_when_that_does() -> None:
    done("submit", "first.yaml", "second.yaml")
    wait_until(lambda: status("second").ok == OPEN)
    done("cancel", "first")
    finished("second")
    found = status("second")
    assert found.state is RunState.INCOMPLETE
    assert not found.groups
    said = shown("second")
    assert "  waits for first, which was cancelled, and is submitted by itself once that goes on" in said
    assert said.splitlines()[-1] == "next: launcher rerun first"
    go()
    done("rerun", "first")
    finished("first", "second")
    assert_right()
    assert times_done("second").max() == 1


@pytest.mark.thorough
def test_what_its_end_finds_undone_costs_no_attempt(tmp_path: Path) -> None:
    """The other run was completed by others after its array tasks had left."""
    write_run(tmp_path, "second", taken("first"), TAKE, retry={"attempts": 1})
    done("submit", "first.yaml", "second.yaml")
    wait_until(lambda: status("second").ok == OPEN)
    done("cancel", "first")
    go()
    done("run", "first.yaml")
    finished("second")
    assert_right()


@pytest.mark.thorough
def test_samples_that_failed_there_fail_here() -> None:
    Path("bad").write_text("3 30")
    done("submit", "first.yaml", "second.yaml")
    wait_until(lambda: status("second").ok + status("second").failed == OPEN)
    go()
    finished("first", "second")
    assert (status("second").ok, status("second").failed) == (ROWS - 2, 2)
    with results.open(run_in(Path.cwd(), "second").path) as found:
        errors = found.errors
    assert errors["row"].tolist() == [3, 30]
    assert all("failed in first: " in message and "bad" in message for message in errors["message"])


def test_what_is_made_of_samples_that_were_done_again_is_told_and_done_again_alone() -> None:
    Path("bad").write_text("3 30")
    run_both()
    Path("bad").write_text("")
    done("rerun", "first", "--shards", "0-3")
    finished("first")
    said = shown("second")
    assert "outdated: run first has computed 8 samples again since this run took them from it" in said
    assert "\nnext: launcher rerun second\n" in said
    code, said = command("gather", "second")
    assert code == 1
    assert "to compute those again: launcher rerun runs/second" in said
    done("rerun", "second")
    finished("second")
    assert_right()
    assert times_done("second").sum() == ROWS + 8


@pytest.mark.thorough
def test_results_can_be_kept_all_the_same() -> None:
    Path("bad").write_text("3")
    run_both()
    done("rerun", "first", "--shards", "0")
    finished("first")
    assert state("second") is RunState.INCOMPLETE
    assert "kept, despite: run first has computed 4 samples again" in done("rerun", "second", "--keep-results")
    assert state("second") is RunState.COMPLETE
    done("run", "second.yaml")
    assert times_done("second").max() == 1
    done("rerun", "first", "--shards", "0")
    finished("first")
    assert "outdated: run first was computed again since this run was planned" in shown("second")


@pytest.mark.thorough
def test_one_that_is_planned_anew_is_another() -> None:
    run_both()
    done("rerun", "first", "--fresh")
    finished("first")
    assert "outdated: run first was computed again since this run was planned" in shown("second")
    assert command("rerun", "second")[0] == 2
    done("rerun", "second", "--fresh")
    finished("second")
    assert_right()


def test_which_samples_fail_cannot_be_left_out_before_it_is_known(tmp_path: Path) -> None:
    write_run(tmp_path, "second", {"run": "first", "overlap": True}, TAKE)
    done("plan", "first.yaml")
    code, said = command("plan", "second.yaml")
    assert code == 2
    assert "overlap: true needs failed: keep" in said


def test_a_plan_that_says_false_is_that_of_one_that_says_nothing(tmp_path: Path) -> None:
    done("plan", "first.yaml")
    write_run(tmp_path, "second", {**taken("first"), "overlap": False}, TAKE)
    done("plan", "second.yaml")
    run = run_in(tmp_path, "second")
    before = Plan.read(run.plan)
    assert "overlaps" not in before.manifest["upstream"]  # older versions read it
    write_run(tmp_path, "second", {"run": "first", "outputs": ["y"], "failed": "keep"}, TAKE)
    done("plan", "second.yaml")
    assert Plan.read(run.plan) == before


@pytest.mark.thorough
def test_an_output_that_it_does_not_have_is_told_once_it_has_some(tmp_path: Path) -> None:
    write_run(tmp_path, "second", taken("first", "why"), TAKE)
    done("submit", "first.yaml", "second.yaml")
    wait_until(lambda: bool(status("second").groups) or state("second") is not RunState.RUNNING)
    finished("second")
    assert state("second") is RunState.FAILED
    assert "run first has no output 'why' (data.manifest.outputs)" in shown("second")


def test_nothing_is_tried_of_samples_that_are_not_there() -> None:
    done("plan", "first.yaml")
    code, said = command("probe", "second.yaml")
    assert code == 1
    assert "nothing can be tried yet: run first is not complete" in said
    code, said = command("try", "second.yaml")
    assert code == 1
    assert "run first has not done rows 0-2 yet" in said


@pytest.mark.thorough
def test_what_was_taken_is_told_by_submission() -> None:
    go()
    done("submit", "first.yaml", "second.yaml")
    finished("first", "second")
    run = run_in(Path.cwd(), "second")
    assert union(one.beat.taken[1] for one in Attempts(run).read() if one.beat.done) == Spans([(0, ROWS)])
    upstream = Upstream.of(Plan.read(run.plan))
    assert upstream
    assert not upstream.stale(run)
    assert upstream.to_come() == Spans()


@pytest.mark.thorough
def test_the_document_says_what_it_waits_for() -> None:
    done("submit", "first.yaml", "second.yaml")
    wait_until(lambda: status("second").ok == OPEN)
    found = json.loads(done("status", "second", "--json"))
    assert (found["state"], found["waits"]) == ("running", {"problem": None})
    assert "blocked_by" not in found


@pytest.mark.thorough
def test_one_that_waits_begins_with_the_other_in_the_foreground_too(tmp_path: Path) -> None:
    done("plan", "first.yaml")
    done("submit", "second.yaml")
    with start(tmp_path, "run", "first.yaml") as process:
        wait_until(lambda: status("second").ok == OPEN)
        assert state("first") is RunState.RUNNING
        go()
        said, _ = process.communicate()
    assert process.returncode == 0, said
    finished("second")
    assert_right()
