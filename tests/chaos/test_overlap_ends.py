"""Two things happen to runs that overlap at the same time: one as a whole at each step of the other; all ends well by itself.

A step is a look at what the runs have written, or something that is written. Nothing is computed, and no process is started.
Each night all steps are tried, else one.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jobs.kinds import EndReason
from jobs.node.supervisor.attempt_start import new_name
from jobs.storage import upstreams
from jobs.storage.attempts import Attempts, owners
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.seals import by_submission
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream
from launcher.config.settings import RetrySettings
from launcher.executors import EXECUTORS, Registered
from launcher.local.local_executor import LocalExecutor
from launcher.retry import finalize as finalizing
from launcher.retry.finalize import Ending, WithoutLimits, finalize
from launcher.retry.policy import Terms
from launcher.runs import downstream, submissions
from launcher.runs.submissions import Outcome
from launcher.status.reader import StatusReader
from launcher.submit import downstream as starting
from launcher.submit import submit as submitting
from launcher.submit.downstream import start_waiting
from tests.support.builders import AttemptWriter
from tests.support.chains import run_in, write_rows, write_run
from tests.support.examples import THOROUGH
from tests.support.instant_executor import command

ROWS, OPEN, BATCH = 24, 12, 4
STEPS = ((submissions.Outcome, "write"), (Attempts, "read"), (StatusReader, "read"), (Upstream, "to_come"), (Upstream, "stale"),
         (finalizing, "_all_done"), (finalizing, "_seals"), (starting, "read_note"), (starting, "forget"), (starting, "note"),
         (starting, "unfinished"), (submitting, "select_rows"), (submitting, "record"), (submitting, "note"),
         (downstream.Waiting, "write"), (upstreams, "is_file"))  # fmt: skip


class Held(LocalExecutor):
    """What is started goes on until the test lets it do its work, and end."""

    name = "held"
    title = "the test"
    started: ClassVar[list[tuple[RunDir, int]]] = []

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        self.started.extend((run, one.number) for one in submissions)
        return list(submissions)


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Held, "started", [])
    EXECUTORS["held"] = Registered(f"{__name__}:Held", None, restarts_tasks=False)
    try:
        yield
    finally:
        del EXECUTORS["held"]


def write_chain() -> None:
    sizes: dict[str, Any] = {"executor": "held", "data": {"shards": 2}}
    write_run(Path.cwd(), "first", write_rows(Path.cwd(), ROWS), **sizes)
    manifest = {"run": "first", "outputs": ["label"], "failed": "keep", "overlap": True}
    write_run(Path.cwd(), "second", manifest, **sizes)


def run_of(name: str) -> RunDir:
    return run_in(Path.cwd(), name)


def do(*words: str) -> None:
    code, said = command(*words)
    assert code in (0, 1), said
    assert "Traceback" not in said


def newest(name: str) -> int:
    return run_of(name).submission_numbers()[-1]


def work(name: str, number: int, stop: int = ROWS) -> None:
    """Does what there is of a submission before a row, and says so; ends as one that expects nothing more."""
    run = run_of(name)
    plan = Plan.read(run.plan)
    rows, taken = Submission.read(run.submission(number)).work(plan.table).within(0, stop), {}
    if upstream := Upstream.of(plan):
        first = upstream.directory
        now = by_submission(Plan.read(first.plan).results[0], owners(Attempts(first).read()))
        there = union(now.values())
        rows = Spans(batch for batch in plan.table.batches(rows) if there.within(*batch).count == batch[1] - batch[0])
        taken = {source: own & rows for source, own in now.items() if own & rows}
    writer = AttemptWriter(run, number, name=new_name(number, 0))
    writer.commit_all(rows)
    writer.end(taken=taken)


def end(name: str, number: int) -> None:
    """As the process of the local executor does."""
    run = run_of(name)
    if Outcome.read(run, number):
        return
    submission = Submission.read(run.submission(number))
    asked, retry = WithoutLimits(Terms(submission.resources.attempt)), RetrySettings(3)
    was_cancelled = any(one.beat.end is EndReason.STOPPED for one in Attempts(run, number).read())
    made = finalize(run, Plan.read(run.plan), submission, Ending(cancelled=was_cancelled), asked, retry)
    if made:  # in the hands of the same process
        Held.started.extend((run, one.number) for one in made)
    else:
        start_waiting(run)


def drain() -> None:
    """All that was started does its work, and ends."""
    for _ in range(20):
        if not Held.started:
            return
        run, number = Held.started.pop(0)
        work(run.name, number)
        end(run.name, number)
    raise AssertionError("they start each other again and again")


def at_step(number: int, monkeypatch: pytest.MonkeyPatch, first: Callable[[], None], other: Callable[[], None]) -> int:
    """The first, with the other as a whole before that step of it; returns how many steps it has. 0: after it."""
    steps, is_inside = 0, False

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            nonlocal steps, is_inside
            steps += not is_inside
            if steps == number and not is_inside:
                is_inside = True
                other()
                is_inside = False
                steps += 1
            return call(*arguments, **named)

        return step

    with monkeypatch.context() as patch:
        for owner, name in STEPS:
            patch.setattr(owner, name, wrapped(getattr(owner, name)))
        first()
    if not number:
        other()
    return steps


def some_are_to_come() -> None:
    """The second run's array tasks have left, for they heard nothing of the first one; that has all done by now."""
    do("submit", "first.yaml", "second.yaml")
    Held.started.clear()
    writer = AttemptWriter(run_of("first"), 1)
    writer.commit_all(Spans([(0, OPEN)]))
    writer.beat()
    work("second", 1)
    writer.commit_all(Spans([(OPEN, ROWS)]))
    writer.end()


def it_is_cancelled() -> None:
    """The first run is about to end without some of its samples; the second one has what there is of them, and has left."""
    do("submit", "first.yaml", "second.yaml")
    Held.started.clear()
    writer = AttemptWriter(run_of("first"), 1)
    writer.commit_all(Spans([(0, OPEN)]), bad=[3])
    writer.end(EndReason.STOPPED)
    work("second", 1)


def some_are_done_again() -> None:
    """The second run has all, and the first one has done some of that again since."""
    do("submit", "first.yaml", "second.yaml")
    Held.started.clear()
    writer = AttemptWriter(run_of("first"), 1)
    writer.commit_all(Spans([(0, ROWS)]), bad=[3, 5])
    writer.end()
    work("second", 1)
    end("first", 1)
    do("rerun", "first", "--shards", "0")
    Held.started.clear()
    work("first", 2)


def ends(name: str) -> Callable[[], None]:
    return lambda: end(name, newest(name) if name == "first" else 1)


def submitted() -> None:
    do("submit", "second.yaml")


def run_again() -> None:
    do("rerun", "first", "--shards", "0-1")


CASES = {
    "its end, at the other's": (ends("second"), ends("first")),
    "the other's end, at its": (ends("first"), ends("second")),
    "its end, when it is submitted": (ends("second"), submitted),
    "the other's end, when it is submitted": (ends("first"), submitted),
    "it is submitted, at the other's end": (submitted, ends("first")),
    "it is submitted, at its end": (submitted, ends("second")),
    "its end, when the other is run again": (ends("second"), run_again),
    "the other's end, when that is run again": (ends("first"), run_again),
    "the other is run again, at its end": (run_again, ends("second")),
    "the other is run again, when it is submitted": (run_again, submitted),
    "it is submitted, when the other is run again": (submitted, run_again),
}


@pytest.mark.parametrize(
    "before", [some_are_to_come, some_are_done_again, it_is_cancelled], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("case", CASES)
def test_whatever_comes_in_between_all_is_done_and_nobody_has_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], case: str
) -> None:
    for number in itertools.count() if THOROUGH else [3]:
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        write_chain()
        before()
        steps = at_step(number, monkeypatch, *CASES[case])
        end("second", 1)
        end("first", newest("first"))
        drain()
        if "first  complete" not in command("status", "first")[1]:
            run_again()
            drain()
        assert_all_done(f"at step {number} of {steps}")
        if number > steps:
            break


def assert_all_done(when: str) -> None:
    shown = command("status", "second")[1]
    assert "second  complete" in shown, f"{when}: {shown}"
    run = run_of("second")
    upstream = Upstream.of(Plan.read(run.plan))
    assert upstream
    assert not upstream.stale(run), when
    assert sum(one.rows.count for one in owners(Attempts(run).read())) == ROWS, when
