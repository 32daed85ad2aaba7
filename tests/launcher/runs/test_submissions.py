"""Submissions: numbers are given once, shards are in one pair of hands."""

import multiprocessing
import time
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from jobs.errors import RunError
from jobs.kinds import FailureKind
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.plans import NodeSettings, Resources, Submission
from jobs.storage.rundir import RunDir
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome, create, in_hand, newest_by_shard, read_submissions


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.make()
    return run


def submission(*shards: int, **values: object) -> Submission:
    mine = ProcessIdentity.current().to_json()
    made = Submission(0, "local", time.time(), tuple((s,) for s in shards), NodeSettings(), process=mine)
    return replace(made, **values)  # type: ignore[arg-type]


def test_numbers_follow_one_another(run: RunDir) -> None:
    assert [create(run, submission(shard)).number for shard in range(3)] == [1, 2, 3]
    assert sorted(path.name for path in run.submissions.iterdir()) == ["0001.json", "0002.json", "0003.json"]


def test_a_shard_that_somebody_runs_is_not_taken(run: RunDir) -> None:
    create(run, submission(0, 1))
    with pytest.raises(RunError, match="submission 1 is running these shards"):
        create(run, submission(1, 2))
    assert run.submission_numbers() == [1]


def test_a_shard_of_a_submission_that_ended_is_free(run: RunDir) -> None:
    create(run, submission(0, 1))
    Outcome(time.time()).write(run, 1)
    assert in_hand(read_submissions(run)) == {}
    assert create(run, submission(0, 1)).number == 2


def test_a_retry_takes_over_the_shards_of_the_submission_it_continues(run: RunDir) -> None:
    create(run, submission(0, 1))
    successor = create(run, submission(1, resources=Resources(continues=1)))
    newest = newest_by_shard(read_submissions(run))
    assert (newest[0].number, newest[1].number) == (1, successor.number)


def test_a_submission_that_is_withdrawn_while_they_are_read_is_left_out(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, submission(0))
    monkeypatch.setattr(RunDir, "submission_numbers", lambda self: [1, 2])
    assert [known.number for known in read_submissions(run)] == [1]


def test_outcomes_come_back_as_they_were_written(run: RunDir) -> None:
    outcome = Outcome(1.5, True, {3: Failure(FailureKind.CRASH, "died", 3)}, "no room")
    outcome.write(run, 1)
    assert Outcome.read(run, 1) == outcome
    assert Outcome.read(run, 2) is None


def _race(path: Path, results: "Queue[str]", all_have_tried: Event) -> None:
    try:
        create(RunDir(path), submission(0))
        results.put("won")
        all_have_tried.wait()  # a submission whose process is gone is nobody's
    except RunError:
        results.put("lost")


def test_of_several_at_the_same_moment_one_gets_the_shard(run: RunDir) -> None:
    context = multiprocessing.get_context("spawn")
    results, all_have_tried = context.Queue(), context.Event()
    racers = [context.Process(target=_race, args=(run.path, results, all_have_tried), daemon=True) for _ in range(4)]
    for racer in racers:
        racer.start()
    found = [results.get(timeout=60) for _ in racers]
    all_have_tried.set()
    for racer in racers:
        racer.join()
    assert sorted(found) == ["lost", "lost", "lost", "won"]
    assert len(run.submission_numbers()) == 1
