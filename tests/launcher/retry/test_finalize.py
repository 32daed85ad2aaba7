"""Finalize: which shards of an ended submission go into which submissions that follow."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.storage.journal import Journal
from jobs.storage.plans import Plan, Submission
from jobs.storage.records import AttemptEnd, AttemptStart, Commit
from jobs.storage.rundir import RunDir
from launcher.config.settings import RetrySettings
from launcher.retry.finalize import Ending, WithoutLimits, finalize
from launcher.retry.policy import Allocation, Terms
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome
from tests.support.task_runs import make_run

GIB = 1 << 30


@dataclass(frozen=True)
class Asked:
    """An executor that has limits to raise."""

    terms: Terms

    def options(self, terms: Terms) -> Mapping[str, str]:
        return {"memory": str(terms.memory), "time": str(terms.time), "not": ",".join(terms.excluded_nodes)}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "run", "Toy", 60, shards=6, batch_size=5)


def write_attempt(
    run: RunDir, shard: int, reason: EndReason, kind: FailureKind | None = None, *, commits: int = 0
) -> None:
    """The journal of an attempt that committed some batches of the shard's two."""
    with Journal(run.journal(shard)) as journal:
        journal.append([AttemptStart(1, 1, time.time(), "n1", 1)])
        journal.append(Commit(row, row + 5, {}) for row in range(10 * shard, 10 * shard + 5 * commits, 5))
        journal.append([AttemptEnd(reason, time.time(), 5 * commits, 0, kind)])


def end(run: RunDir, ending: Ending, *, attempts: int = 3, terms: Terms | None = None) -> list[Submission]:
    submission = Submission.read(run.submission(1))
    asked = WithoutLimits(Terms()) if terms is None else Asked(terms)
    return finalize(run, Plan.read(run.plan), submission, ending, asked, RetrySettings(attempts=attempts))


def test_shards_that_need_different_terms_go_into_different_submissions(run: RunDir) -> None:
    write_attempt(run, 0, EndReason.FAILED, FailureKind.OUT_OF_MEMORY)
    write_attempt(run, 1, EndReason.FAILED, FailureKind.TIMEOUT)
    write_attempt(run, 2, EndReason.FAILED, FailureKind.CRASH)
    write_attempt(run, 3, EndReason.FAILED, FailureKind.ERROR)
    write_attempt(run, 4, EndReason.FAILED, FailureKind.OUT_OF_MEMORY)
    failures = {5: Failure(FailureKind.NODE_FAIL, "gone", 5)}
    made = end(run, Ending(failures, {5: Allocation("n9")}), terms=Terms(1, 4 * GIB, 3600))
    found = {submission.shards: dict(submission.resources.options) for submission in made}
    same = {"memory": str(4 * GIB), "time": "3600", "not": ""}
    assert found == {
        (0, 4): {**same, "memory": str(6 * GIB)},
        (1,): {**same, "time": "5400"},
        (2,): same,
        (5,): {**same, "not": "n9"},
    }
    assert {(s.resources.attempt, s.resources.continues) for s in made} == {(2, 1)}
    assert [Submission.read(run.submission(s.number)) for s in made] == made


def test_shards_that_need_the_same_go_on_together_whatever_they_ended_for(run: RunDir) -> None:
    write_attempt(run, 0, EndReason.FAILED, FailureKind.CRASH)
    failures = {shard: Failure(FailureKind.LOST, "no word", shard) for shard in (1, 2, 3, 4, 5)}
    (made,) = end(run, Ending(failures))
    assert (made.shards, dict(made.resources.options)) == ((0, 1, 2, 3, 4, 5), {})


def test_who_got_on_before_he_was_told_to_leave_has_lost_no_attempt(run: RunDir) -> None:
    for shard in range(6):
        write_attempt(run, shard, EndReason.STOPPED, commits=shard % 2)
    made = end(run, Ending())
    assert {submission.shards: submission.resources.attempt for submission in made} == {(0, 2, 4): 2, (1, 3, 5): 1}


def test_after_the_last_attempt_nothing_follows_and_the_outcome_has_the_failures(run: RunDir) -> None:
    failures = {shard: Failure(FailureKind.CRASH, "died", shard) for shard in range(6)}
    assert end(run, Ending(failures), attempts=1) == []
    outcome = Outcome.read(run, 1)
    assert outcome
    assert outcome.failures == failures


@pytest.mark.parametrize("kind", [FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT])
def test_without_limits_to_raise_what_ran_out_is_left(run: RunDir, kind: FailureKind) -> None:
    assert end(run, Ending({shard: Failure(kind, "more", shard) for shard in range(6)})) == []


def test_a_cancelled_submission_is_followed_by_nothing(run: RunDir) -> None:
    failures = {shard: Failure(FailureKind.LOST, "no word", shard) for shard in range(6)}
    assert end(run, replace(Ending(failures), cancelled=True)) == []
