"""Who starts a run that overlaps with another one, when, and with what: each case in milliseconds, nothing is computed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jobs.errors import InputError
from jobs.kinds import EndReason, FailureKind, RunState
from jobs.node.supervisor.attempt_start import new_name
from jobs.storage.attempts import Attempts, owners
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.seals import by_submission
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Resources, Submission
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config, load_config
from launcher.config.settings import RetrySettings
from launcher.executors import EXECUTORS, Registered
from launcher.notify import announcement
from launcher.plan.guard import Way
from launcher.plan.plan import make_plan
from launcher.retry.finalize import Ending, WithoutLimits, finalize
from launcher.retry.policy import Terms
from launcher.runs.downstream import Waiting, how_it_waits, note_path, read_note
from launcher.runs.submissions import create
from launcher.status.reader import StatusReader
from launcher.submit.downstream import readers_of, start_overlapping, start_waiting
from launcher.submit.submit import select_rows, submit
from launcher.submit.turn import blocking, note, unfinished
from tests.support.builders import AttemptWriter, everything
from tests.support.chains import run_in, write_rows, write_run
from tests.support.instant_executor import InstantExecutor, command

ROWS = 40
OPEN = 18
"""So many rows of the first run are done at once."""


class GatedExecutor(InstantExecutor):
    """Runs that are ``held`` do some rows, and go on until ``let_go``; of others that overlap what is there is done.

    ``options`` are what this shell says of a scheduler; ``failing`` runs fail, and of all but the first ``bad`` samples.
    """

    name = "gated"
    held: ClassVar[set[str]] = set()
    failing: ClassVar[set[str]] = set()
    bad: ClassVar[set[int]] = set()
    options: ClassVar[Mapping[str, str]] = {}

    def resources(self, config: Config) -> Resources:
        return Resources(options=dict(self.options))

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        for submission in submissions:
            work(run, submission.number, until=OPEN if run.name in self.held else None)
        return list(submissions)


def work(run: RunDir, number: int, until: int | None = None) -> None:
    """Does what is there of a submission, and ends it; ``until``: what is before that row, and it goes on."""
    plan, submission = Plan.read(run.plan), Submission.read(run.submission(number))
    upstream, rows, taken = Upstream.of(plan), submission.work(plan.table), {}
    if upstream and upstream.overlaps:
        done = by_submission(Plan.read(upstream.directory.plan).results[0], owners(Attempts(upstream.directory).read()))
        rows = rows & union(done.values())
        taken = {number: some & rows for number, some in done.items()}
    writer = AttemptWriter(run, number, name=new_name(number, 0))
    failed = run.name in GatedExecutor.failing
    bad = GatedExecutor.bad if upstream else ()
    writer.commit_all(Spans() if failed else rows if until is None else rows.within(0, until), everything, bad)
    if until is not None:
        writer.beat(taken=taken)
        writer.close()
        return
    writer.end(EndReason.FAILED if failed else EndReason.DONE, FailureKind.ERROR if failed else None, taken=taken)
    asked = WithoutLimits(Terms(submission.resources.attempt))
    for made in finalize(run, plan, submission, Ending(), asked, RetrySettings(1)):
        work(run, made.number)
    start_waiting(run)


@pytest.fixture(autouse=True)
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The first run goes on when it is begun, the second overlaps with it, and the third with the second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GatedExecutor, "held", {"first"})
    monkeypatch.setattr(GatedExecutor, "failing", set())
    monkeypatch.setattr(GatedExecutor, "bad", set())
    monkeypatch.setattr(GatedExecutor, "options", {})
    write(tmp_path, "first", write_rows(tmp_path, ROWS))
    write(tmp_path, "second", taken("first"))
    write(tmp_path, "third", taken("second"))
    EXECUTORS["gated"] = Registered(f"{__name__}:GatedExecutor", None, restarts_tasks=False)
    try:
        yield
    finally:
        del EXECUTORS["gated"]


def write(folder: Path, name: str, manifest: object, **sections: Any) -> None:
    write_run(folder, name, manifest, executor="gated", **sections)


def taken(run: str) -> dict[str, object]:
    return {"run": run, "outputs": ["text"], "failed": "keep", "overlap": True}


def done(*arguments: object) -> str:
    code, said = command(*arguments)
    assert code == 0, said
    return said


def run_of(name: str) -> RunDir:
    return run_in(Path.cwd(), name)


def states(*names: str) -> list[str]:
    return [StatusReader(run_of(name)).read().state for name in names]


def ok(name: str) -> int:
    return StatusReader(run_of(name)).read().ok


def waits(name: str) -> bool:
    run = run_of(name)
    return how_it_waits(run, Plan.read(run.plan)) is not None


def let_go(name: str = "first", number: int = 1) -> None:
    """It does the rest, and ends."""
    GatedExecutor.held.clear()
    work(run_of(name), number)


def test_it_may_begin_once_the_other_has_begun() -> None:
    done("plan", "first.yaml")
    done("plan", "second.yaml")
    link = blocking(run_of("second"))
    assert link
    assert link.run.name == "first"
    done("submit", "first")
    assert blocking(run_of("second")) is None
    assert [one.name for one in unfinished(run_of("second"))] == ["first"]


def test_those_that_wait_begin_with_it_and_who_comes_after_them_too() -> None:
    done("plan", "first.yaml")
    done("submit", "second.yaml", "third.yaml")
    assert states("second", "third") == ["planned", "planned"]
    GatedExecutor.held.update({"second", "third"})
    done("submit", "first")
    assert (ok("first"), ok("second"), ok("third")) == (OPEN, OPEN, OPEN)
    assert states("first", "second", "third") == ["running"] * 3
    assert (waits("second"), waits("third")) == (True, True)
    for name in ("first", "second", "third"):
        let_go(name)
    assert states("first", "second", "third") == ["complete"] * 3
    assert (waits("second"), waits("third")) == (False, False)


def test_one_that_has_to_wait_for_another_as_well_does_not_begin(tmp_path: Path) -> None:
    write(tmp_path, "slow", "data.csv")
    write(tmp_path, "second", taken("first"), after=["slow"])
    done("plan", "slow.yaml")
    done("plan", "first.yaml")
    done("submit", "second.yaml")
    done("submit", "first")
    assert states("second") == ["planned"]
    done("submit", "slow")
    assert (ok("second"), states("second")) == (OPEN, ["incomplete"])
    let_go()
    assert states("second") == ["complete"]


def test_its_own_end_goes_on_with_it_where_the_other_is_complete_by_then() -> None:
    """The other one's end saw that something of it goes on, and left it alone."""
    done("submit", "first.yaml")
    GatedExecutor.held.add("second")
    done("submit", "second.yaml")
    run = run_of("first")
    GatedExecutor.held.clear()
    work(run, 1)
    assert states("first", "second") == ["complete", "running"]
    assert waits("second")
    assert run_of("second").submission_numbers() == [1]
    writer = AttemptWriter(run_of("second"), 1, 1)
    writer.end()
    plan, made = Plan.read(run_of("second").plan), Submission.read(run_of("second").submission(1))
    for successor in finalize(run_of("second"), plan, made, Ending(), WithoutLimits(Terms()), RetrySettings(1)):
        work(run_of("second"), successor.number)
    start_waiting(run_of("second"))
    assert states("second") == ["complete"]
    assert not waits("second")


def test_nothing_is_started_twice() -> None:
    done("submit", "first.yaml", "second.yaml")
    assert run_of("second").submission_numbers() == [1]
    for start in (start_waiting, start_overlapping):
        start(run_of("first"))
    start_waiting(run_of("second"))
    assert [len(run_of("second").submission_numbers()), ok("second")] == [2, OPEN]  # what is left was offered once more
    let_go()
    assert states("second") == ["complete"]


def test_one_that_has_failed_waits_for_a_person_and_for_the_other_ones_end() -> None:
    done("submit", "first.yaml")
    GatedExecutor.failing.add("second")
    done("submit", "second.yaml")
    assert states("second") == ["failed"]
    start_waiting(run_of("second"))
    assert run_of("second").submission_numbers() == [1]
    GatedExecutor.failing.clear()
    let_go()
    assert states("second") == ["complete"]
    assert run_of("second").submission_numbers() == [1, 2]


def test_one_that_fails_when_the_other_is_complete_is_not_started_again_by_its_own_end() -> None:
    done("submit", "first.yaml")
    done("submit", "second.yaml")
    GatedExecutor.failing.add("second")
    let_go()
    assert states("first", "second") == ["complete", "failed"]
    assert run_of("second").submission_numbers() == [1, 2]


def test_samples_that_failed_are_tried_again_by_a_person_and_not_by_the_other_ones_end(tmp_path: Path) -> None:
    """What is made of their batches would be outdated, one run after the other, for nothing."""
    write(tmp_path, "second", taken("first"), node={"max_failed_samples": 0})
    GatedExecutor.bad.add(3)
    done("submit", "first.yaml", "second.yaml")
    assert states("second") == ["failed"]
    let_go()
    second = run_of("second")
    assert (states("second"), ok("second")) == (["failed"], ROWS - 1)
    assert str(Submission.read(second.submission(2)).rows) == f"{OPEN}-{ROWS - 1}"
    GatedExecutor.bad.clear()
    done("rerun", "second")
    assert states("second") == ["complete"]
    assert str(Submission.read(second.submission(3)).rows) == "0-3"


def test_one_that_is_extended_says_what_is_made_of_it(tmp_path: Path) -> None:
    GatedExecutor.held.clear()
    done("submit", "first.yaml", "second.yaml")
    done("plan", "third.yaml")
    write_rows(tmp_path, ROWS + 1)
    said = done("extend", "first")
    assert "made of what it had, and outdated now: second; what to do there: launcher status second" in said
    assert "outdated now" not in done("extend", "first")


def test_a_cancelled_one_waits_no_more_and_holds_what_it_has_begun_with() -> None:
    done("submit", "first.yaml", "second.yaml")
    said = done("cancel", "second")
    assert "second waits no more for first" in said
    assert not waits("second")
    let_go()
    assert states("second") == ["incomplete"]
    assert [one.name for one in readers_of(run_of("first"))] == ["second"]
    done("submit", "second")
    assert states("second") == ["complete"]


def test_what_goes_on_by_itself_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[str] = []
    monkeypatch.setattr(announcement, "deliver", lambda target, document, path: told.append(document["state"]))
    write(tmp_path, "second", taken("first"), notify="https://example.org")
    done("submit", "first.yaml", "second.yaml")
    announcement.announce(run_of("second"))
    assert told == []
    let_go()
    announcement.announce(run_of("second"))
    assert told == [RunState.COMPLETE]


# --- notes


def test_a_note_keeps_what_the_shell_said_in_which_it_was_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalize job's node starts it, and has another environment."""
    done("plan", "first.yaml")
    monkeypatch.setattr(GatedExecutor, "options", {"account": "lab"})
    done("submit", "second.yaml")
    monkeypatch.setattr(GatedExecutor, "options", {})
    done("submit", "first")
    assert ok("second") == OPEN
    known = read_note(note_path(run_of("first"), run_of("second")))
    assert known
    assert known.options == {"account": "lab"}
    assert Submission.read(run_of("second").submission(1)).resources.options == {"account": "lab"}


def test_where_no_note_can_be_left_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    done("submit", "first.yaml")
    done("plan", "second.yaml")
    run, config = run_of("second"), load_config(Path("second.yaml"))

    def refuse(waiting: Waiting, upstream: RunDir) -> None:
        raise PermissionError(13, "Permission denied", str(upstream.downstream))

    monkeypatch.setattr(Waiting, "write", refuse)
    with pytest.raises(InputError, match="Permission denied; so second cannot wait for first"):
        submit(run, config, select_rows(run, Plan.read(run.plan)))
    assert run.submission_numbers() == []
    assert states("second") == ["planned"]


def refuse(self: GatedExecutor, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> None:
    raise InputError("no such partition")


def test_what_is_refused_is_not_tried_again_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    done("submit", "first.yaml")
    monkeypatch.setattr(GatedExecutor, "start", refuse)
    code, said = command("submit", "second.yaml")
    assert (code, "no such partition" in said) == (2, True)
    assert not waits("second")
    assert run_of("second").submission_numbers() == []


def test_unless_it_waited_already(monkeypatch: pytest.MonkeyPatch) -> None:
    done("plan", "first.yaml")
    done("submit", "second.yaml")
    done("submit", "first.yaml")
    done("cancel", "second")
    done("submit", "second")
    monkeypatch.setattr(GatedExecutor, "start", refuse)
    start_overlapping(run_of("first"))
    known = read_note(note_path(run_of("first"), run_of("second")))
    assert known
    assert known.problem == "no such partition"


def test_a_note_is_written_over_by_a_later_one() -> None:
    done("submit", "first.yaml", "second.yaml")
    run, config = run_of("second"), load_config(Path("second.yaml"), ["node.batch_size=2"])
    note(run, config, run_of("first"), {"qos": "low"})
    known = read_note(note_path(run_of("first"), run))
    assert known
    assert (known.options, known.config["node"]["batch_size"]) == ({"qos": "low"}, 2)


# --- results that are kept


def keep(folder: Path, wait: float) -> Upstream:
    """What the plan says of the other run, once the results stay right although this run is another one."""
    write(folder, "second", taken("first"), params={"wait": wait})
    planned = make_plan(load_config(folder / "second.yaml"), Way.KEEP)
    upstream = Upstream.of(planned.plan)
    assert not planned.is_new
    assert upstream
    return upstream


def test_results_can_be_kept_while_the_other_goes_on_and_it_goes_on_taking_samples() -> None:
    done("submit", "first.yaml", "second.yaml")
    before = Upstream.of(Plan.read(run_of("second").plan))
    said = done("rerun", "second", "--keep-results", "--set", "job.params.wait=0.001")
    assert "kept, despite: job.params.wait: null -> 0.001" in said
    assert Upstream.of(Plan.read(run_of("second").plan)) == before
    let_go()
    assert states("second") == ["complete"]


def test_what_was_done_again_there_is_kept_once_it_is_complete(tmp_path: Path) -> None:
    done("submit", "first.yaml", "second.yaml")
    let_go()
    GatedExecutor.held.clear()
    create(run_of("first"), Submission.read(run_of("first").submission(1)))
    work(run_of("first"), 2)
    assert "has computed 40 samples again" in str(StatusReader(run_of("second")).read().chain.outdated)
    kept = keep(tmp_path, 1.0).kept
    assert kept
    assert states("second") == ["complete"]
    assert keep(tmp_path, 2.0).kept == kept
