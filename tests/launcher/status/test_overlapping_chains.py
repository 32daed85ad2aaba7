"""What is told of runs that take the samples of each other: which one they wait for, what to do next, how long it takes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.gather.gather import gather
from jobs.kinds import EndReason, FailureKind, RunState
from jobs.storage.spans import Spans
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome
from launcher.status.reader import StatusReader
from tests.support.builders import AttemptWriter, submit
from tests.support.chains import run_in, write_rows, write_run
from tests.support.instant_executor import command, instant_executor

NAMES = ("first", "second", "third")


@pytest.fixture(autouse=True)
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three runs that are planned, of which the others wait for the first."""
    monkeypatch.chdir(tmp_path)
    manifest: object = write_rows(tmp_path)
    with instant_executor():
        for name in NAMES:
            write_run(tmp_path, name, manifest, executor="instant")
            manifest = {"run": name, "outputs": ["text"], "failed": "keep", "overlap": True}
        assert command("submit", "third.yaml")[0] == 2  # the second is not planned yet
        assert command("plan", "first.yaml")[0] == 0
        assert command("submit", "second.yaml")[0] == 0
        assert command("submit", "third.yaml")[0] == 0
        yield


def begins(name: str, rows: int = 0, *, seconds: float = 10.0) -> AttemptWriter:
    """Its first submission goes on, and has done so many rows in so long a time."""
    run = run_in(Path.cwd(), name)
    submit(run, tasks=1, claims=True)
    writer = AttemptWriter(run, began=time.time() - seconds)
    writer.commit_all(Spans([(0, rows)]))
    writer.beat()
    return writer


def ends(writer: AttemptWriter, kind: FailureKind | None = None, *, cancelled: bool = False) -> None:
    writer.end(EndReason.FAILED if kind else EndReason.STOPPED, kind, "no such file")
    failed = {0: Failure(kind, "no such file", 0)} if kind else {}
    Outcome(time.time(), cancelled, failed).write(writer.run, 1)


def state(name: str) -> RunState:
    return StatusReader(run_in(Path.cwd(), name)).read().state


def told(name: str) -> list[str]:
    return command("status", name)[1].splitlines()


def test_one_that_waits_is_submitted_once_the_first_begins() -> None:
    assert "  waits for first, which is planned, and is submitted by itself once that begins" in told("third")
    assert told("third")[-1] == "next: launcher submit first"


def test_a_list_says_for_which_run_one_waits() -> None:
    lines = {line.split()[0]: line for line in command("list")[1].splitlines()}
    assert lines["second"].endswith("0 of 40 samples (0%), waits for first")
    begins("second", 4)
    lines = {line.split()[0]: line for line in command("list")[1].splitlines()}
    assert "waits" not in lines["second"]
    assert lines["third"].endswith("0 of 40 samples (0%), waits for second")


def test_what_failed_is_named_while_the_one_before_it_goes_on() -> None:
    begins("first", 20)
    ends(begins("second"), FailureKind.ERROR)
    assert (state("first"), state("second")) == (RunState.RUNNING, RunState.FAILED)
    assert "  comes after first, which is running, and does not have to wait for it" in told("second")
    assert told("second")[-1].startswith("next: launcher rerun second, once its cause is mended")
    assert "  waits for second, which failed, and is submitted by itself once that goes on" in told("third")
    assert told("third")[-1].startswith("next: launcher rerun second, once its cause is mended")


def test_samples_are_taken_of_the_one_before_alone() -> None:
    begins("first", 20)
    second = begins("second", 12)
    begins("third", 8)
    assert "  takes the samples of second as that has done them" in told("third")
    ends(second, cancelled=True)
    assert not [line for line in told("third") if "takes the samples" in line]


def test_no_run_ends_before_that_whose_samples_it_takes() -> None:
    begins("first", 20, seconds=100)
    begins("second", 20, seconds=1)
    begins("third", 16, seconds=1)
    left = [StatusReader(run_in(Path.cwd(), name)).read().eta for name in NAMES]
    assert left[0] == pytest.approx(100, rel=0.1)
    assert left[1:] == left[:1] * 2


def test_nobody_waits_for_one_that_is_complete() -> None:
    assert "these wait for first, unless they are cancelled too: second" in command("cancel", "first")[1]
    first = begins("first", 40)
    first.end()
    gather(first.run)
    Outcome(time.time()).write(first.run, 1)
    assert state("first") is RunState.COMPLETE
    assert "these wait" not in command("cancel", "first")[1]
