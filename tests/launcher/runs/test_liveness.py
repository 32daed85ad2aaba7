"""Liveness: what goes on, as far as this machine can tell."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.kinds import EndReason
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat
from jobs.storage.records import AttemptStart
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission
from launcher.runs.liveness import live_attempts
from launcher.runs.submissions import SubmissionState

HERE = ProcessIdentity.current()
ALIVE, DEAD = HERE.to_json(), replace(HERE, start=1).to_json()
ELSEWHERE = replace(HERE, host="elsewhere").to_json()


def attempt(process: Any, *, name: str = "0001-00003-a", worker: int = 3, restart: int = 0, time: float = 5) -> Attempt:
    start = AttemptStart(1, worker, worker, time, "node", process, restart=restart)
    return Attempt(name, Path(name), start, Beat(1, 0.0))


def state(executor: str = "local", *, is_open: bool = True) -> SubmissionState:
    return SubmissionState(Submission(1, executor, 0.0, 1, Spans([(0, 9)]), (), NodeSettings()), None, is_open)


@pytest.mark.parametrize(
    ("process", "executor", "is_open", "lives"),
    [
        (ALIVE, "local", True, True),
        (ALIVE, "local", False, True),
        (DEAD, "local", True, False),
        (DEAD, "slurm", True, True),
        (DEAD, "slurm", False, False),
        (DEAD, "of_tomorrow", True, True),
        (ELSEWHERE, "local", True, True),
        (ELSEWHERE, "local", False, False),
        ({}, "slurm", True, True),
        ({}, "slurm", False, False),
    ],
)
def test_an_attempt_without_an_end_lives(process: Any, executor: str, is_open: bool, lives: bool) -> None:
    one = attempt(process)
    assert live_attempts([one], {1: state(executor, is_open=is_open)}) == ({one.name} if lives else set())


@pytest.mark.parametrize("process", [ALIVE, ELSEWHERE])
def test_an_attempt_that_ended_does_not(process: Any) -> None:
    one = attempt(process)._replace(beat=Beat(1, 0.0, end=EndReason.STOPPED))
    assert live_attempts([one], {1: state()}) == frozenset()


def test_of_an_unknown_submission_only_the_process_tells() -> None:
    here, there = attempt(ALIVE), attempt(ELSEWHERE, name="0001-00003-b")
    assert live_attempts([here, there], {}) == {here.name}


def test_an_attempt_whose_first_line_is_damaged_goes_on_with_its_submission() -> None:
    one = attempt(ALIVE)._replace(start=None)
    assert live_attempts([one], {1: state()}) == {one.name}
    assert live_attempts([one], {1: state(is_open=False)}) == frozenset()


def test_elsewhere_a_worker_that_was_started_again_has_one_attempt_that_lives() -> None:
    first = attempt(ELSEWHERE)
    again = attempt(ELSEWHERE, name="0001-00003-b", restart=1, time=4)
    other = attempt(ELSEWHERE, name="0001-00004-c", worker=4)
    assert live_attempts([first, again, other], {1: state("slurm")}) == {again.name, other.name}


def test_elsewhere_the_schedulers_count_decides_and_no_clock() -> None:
    ahead = attempt(ELSEWHERE, name="0001-00003-a", restart=0, time=1e12)
    again = attempt(ELSEWHERE, name="0001-00003-b", restart=1, time=5)
    assert live_attempts([ahead, again], {1: state("slurm")}) == {again.name}


def test_two_jobs_of_one_submission_are_workers_beside_each_other() -> None:
    one, other = attempt(ELSEWHERE, name="0001-00003-a"), attempt(ELSEWHERE, name="0001-00003-b", time=6)
    assert one.start
    one = one._replace(start=replace(one.start, job_id="7"))
    assert live_attempts([one, other], {1: state("slurm")}) == {one.name, other.name}


def test_a_process_of_another_container_is_none_of_this_machine() -> None:
    hidden = attempt(replace(HERE, namespace="pid:[1]").to_json())
    assert live_attempts([hidden], {1: state()}) == {hidden.name}
    assert live_attempts([hidden], {1: state(is_open=False)}) == frozenset()
