"""Finalize: which rows of an ended submission go into which submissions that follow, and what its outcome says."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jobs.gather.new_result import NewResult
from jobs.kinds import EndReason, FailureKind
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from jobs.storage.upstreams import Upstream, plan_seal
from launcher.config.settings import RetrySettings
from launcher.plan.upstream import with_upstream
from launcher.retry.finalize import Ending, WithoutLimits, finalize
from launcher.retry.policy import Allocation, Terms
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome, create
from tests.support.builders import AttemptWriter, build_plan
from tests.support.launcher_runs import datasets

GIB = 1 << 30


@dataclass(frozen=True)
class Asked(WithoutLimits):
    """An executor that has limits to raise."""

    def resources(self, before: Resources, terms: Terms) -> Resources:
        options = {"memory": str(terms.memory), "time": str(terms.time), "not": ",".join(terms.excluded_nodes)}
        return replace(before, options=options)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Six shards of two batches of five rows, and a task for each."""
    run = build_plan(tmp_path / "run", range(0, 61, 10), batch_size=5)
    run.claims(1).mkdir()
    return run


def claim(run: RunDir, range_: int, number: int, attempt: str, start: int, stop: int) -> None:
    assert ClaimFolder(run.claims(1)).take(Claim(range_, number, attempt, start, stop))


def write_attempt(
    run: RunDir, shard: int, reason: EndReason | None, kind: FailureKind | None = None, *, commits: int = 0
) -> str:
    """An attempt that claimed a shard and did some of its two batches; ``reason`` None: it left no end. Returns its name."""
    writer = AttemptWriter(run, worker=shard)
    claim(run, shard, 1, writer.name, 10 * shard, 10 * shard + 10)
    writer.commit_all(Spans([(10 * shard, 10 * shard + 5 * commits)]))
    if reason is None:
        writer.beat()
        writer.close()
    else:
        writer.end(reason, kind, f"{kind}")
    return writer.name


def end(run: RunDir, ending: Ending, *, attempts: int = 3, terms: Terms | None = None) -> list[Submission]:
    submission = Submission.read(run.submission(1))
    asked = WithoutLimits(Terms()) if terms is None else Asked(terms)
    return finalize(run, Plan.read(run.plan), submission, ending, asked, RetrySettings(attempts=attempts))


def of(made: Submission) -> str:
    """The rows of a submission; its ranges hold them all."""
    assert sum(made.rows.within(*range_).count for range_ in made.ranges) == made.rows.count
    return str(made.rows)


def outcome_of(run: RunDir) -> dict[int, str]:
    """By shard, the kinds of failure that the outcome has."""
    outcome = Outcome.read(run, 1)
    assert outcome
    assert all(failure.shard == shard for shard, failure in outcome.failures.items())
    return {shard: str(failure.kind) for shard, failure in outcome.failures.items()}


def test_rows_that_need_different_terms_go_into_different_submissions(run: RunDir) -> None:
    write_attempt(run, 0, EndReason.FAILED, FailureKind.OUT_OF_MEMORY)
    write_attempt(run, 1, EndReason.FAILED, FailureKind.TIMEOUT)
    write_attempt(run, 2, EndReason.FAILED, FailureKind.CRASH, commits=1)
    write_attempt(run, 3, EndReason.FAILED, FailureKind.ERROR)
    write_attempt(run, 4, EndReason.FAILED, FailureKind.OUT_OF_MEMORY, commits=1)
    tasks = {5: Failure(FailureKind.NODE_FAIL, "gone", -1)}
    made = end(run, Ending(tasks, {5: Allocation("n9")}), terms=Terms(1, 4 * GIB, 3600))
    found = {of(submission): dict(submission.resources.options) for submission in made}
    same = {"memory": str(4 * GIB), "time": "3600", "not": ""}
    assert found == {
        "0-9,45-49": {**same, "memory": str(6 * GIB)},
        "10-19": {**same, "time": "5400"},
        "25-29": same,
        "50-59": {**same, "not": "n9"},
    }
    assert {(s.resources.attempt, s.resources.continues) for s in made} == {(2, 1)}
    assert [Submission.read(run.submission(s.number)) for s in made] == made
    kinds = ["OUT_OF_MEMORY", "TIMEOUT", "CRASH", "ERROR", "OUT_OF_MEMORY", "NODE_FAIL"]
    assert outcome_of(run) == dict(enumerate(kinds))


def test_rows_that_need_the_same_go_on_together_whatever_they_ended_for(run: RunDir) -> None:
    write_attempt(run, 0, EndReason.FAILED, FailureKind.CRASH)
    tasks = {index: Failure(FailureKind.LOST, "no word", -1) for index in (1, 2, 3, 4, 5)}
    (made,) = end(run, Ending(tasks))
    assert (of(made), made.tasks, dict(made.resources.options)) == ("0-59", 6, {})


def test_who_got_on_before_he_was_told_to_leave_has_lost_no_attempt(run: RunDir) -> None:
    for shard in range(6):
        write_attempt(run, shard, EndReason.STOPPED, commits=shard % 2)
    made = end(run, Ending())
    assert {of(submission): submission.resources.attempt for submission in made} == {
        "0-9,20-29,40-49": 2,
        "15-19,35-39,55-59": 1,
    }
    assert outcome_of(run) == {}


def test_a_stopped_attempt_whose_task_was_preempted_costs_nothing_and_is_said(run: RunDir) -> None:
    for shard in range(6):
        write_attempt(run, shard, EndReason.STOPPED)
    made = end(run, Ending({2: Failure(FailureKind.PREEMPTED, "taken", -1)}))
    assert {of(submission): submission.resources.attempt for submission in made} == {"0-19,30-59": 2, "20-29": 1}
    assert outcome_of(run) == {2: "PREEMPTED"}


def test_after_the_last_attempt_nothing_follows_and_the_outcome_has_the_failures(run: RunDir) -> None:
    tasks = {index: Failure(FailureKind.CRASH, "died", -1) for index in range(6)}
    assert end(run, Ending(tasks), attempts=1) == []
    outcome = Outcome.read(run, 1)
    assert outcome
    assert outcome.failures == {shard: Failure(FailureKind.CRASH, "died", shard) for shard in range(6)}
    assert not run.claims(1).exists()


@pytest.mark.parametrize("kind", [FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT])
def test_without_limits_to_raise_what_ran_out_is_left(run: RunDir, kind: FailureKind) -> None:
    assert end(run, Ending({index: Failure(kind, "more", -1) for index in range(6)})) == []


def test_a_cancelled_submission_is_followed_by_nothing(run: RunDir) -> None:
    tasks = {index: Failure(FailureKind.LOST, "no word", -1) for index in range(6)}
    assert end(run, replace(Ending(tasks), cancelled=True)) == []


def test_the_newest_claim_tells_who_had_a_row_last(run: RunDir) -> None:
    """Worker 0 took over the second half of shard 1 and died there; worker 1 ended well."""
    first = write_attempt(run, 0, None, commits=2)
    write_attempt(run, 1, EndReason.DONE, commits=1)
    claim(run, 1, 2, first, 15, 20)
    for shard in (2, 3, 4, 5):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    (made,) = end(run, Ending({0: Failure(FailureKind.OUT_OF_MEMORY, "killed", -1)}), terms=Terms(1, 4 * GIB, 3600))
    assert (of(made), made.tasks, made.ranges) == ("15-19", 1, ((15, 20),))
    assert made.resources.options["memory"] == str(6 * GIB)
    assert outcome_of(run) == {1: "OUT_OF_MEMORY"}


def test_who_claimed_and_died_before_he_wrote_a_word_had_it(run: RunDir) -> None:
    for shard in (0, 1, 2, 3, 4):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    claim(run, 5, 1, "0001-00003-0a0b0c0d", 50, 60)
    (made,) = end(run, Ending({3: Failure(FailureKind.OUT_OF_MEMORY, "killed", -1)}), terms=Terms(1, 4 * GIB, 3600))
    assert (of(made), made.resources.options["memory"]) == ("50-59", str(6 * GIB))


def test_what_nobody_claimed_is_that_of_whose_range_it_is(run: RunDir) -> None:
    for shard in (0, 1, 2, 3, 4):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    (made,) = end(run, Ending({5: Failure(FailureKind.LAUNCH, "no node", -1)}))
    assert of(made) == "50-59"
    assert outcome_of(run) == {5: "LAUNCH"}


def test_without_claims_the_ranges_tell(run: RunDir) -> None:
    """As after a crash of the file server: nothing is lost but the knowledge who had what."""
    for shard in range(6):
        write_attempt(run, shard, EndReason.DONE if shard else None, commits=2 if shard else 1)
    shutil.rmtree(run.claims(1))
    (made,) = end(run, Ending({0: Failure(FailureKind.CRASH, "killed", -1)}))
    assert of(made) == "5-9"
    assert outcome_of(run) == {0: "CRASH"}


def test_rows_that_an_attempt_left_without_a_reason_are_tried_again(run: RunDir) -> None:
    for shard in range(6):
        write_attempt(run, shard, EndReason.DONE, commits=1 if shard == 3 else 2)
    (made,) = end(run, Ending())
    assert (of(made), made.resources.attempt) == ("35-39", 2)
    assert outcome_of(run) == {3: "LOST"}


def test_rows_that_others_did_before_are_redone_all_the_same(run: RunDir) -> None:
    """A submission that redoes a batch with failed samples: what an earlier one has of it does not count here."""
    for shard in range(6):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    assert end(run, Ending()) == []
    again = create(run, replace(Submission.read(run.submission(1)), tasks=1, rows=Spans([(5, 10)]), ranges=((5, 10),)))
    ending = Ending({0: Failure(FailureKind.CRASH, "killed", -1)})
    asked, retry = WithoutLimits(Terms()), RetrySettings(attempts=2)
    (made,) = finalize(run, Plan.read(run.plan), again, ending, asked, retry)
    assert (of(made), made.resources.continues) == ("5-9", 2)


def test_a_shard_that_was_given_up_is_not_tried_again_by_anybody(run: RunDir) -> None:
    """Worker 0 gave up shard 1, of which worker 1 still had a batch when it was killed."""
    writer = AttemptWriter(run, worker=0)
    claim(run, 0, 1, writer.name, 0, 10)
    claim(run, 1, 2, writer.name, 15, 20)
    writer.commit_all(Spans([(0, 10)]))
    writer.give_up(1, FailureKind.ERROR, "every sample failed")
    writer.end()
    write_attempt(run, 1, None)
    for shard in (2, 3, 4, 5):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    assert end(run, Ending({1: Failure(FailureKind.CRASH, "killed", -1)})) == []
    assert outcome_of(run) == {1: "ERROR"}


def test_a_shard_that_was_given_up_after_a_crash_is_tried_again(run: RunDir) -> None:
    writer = AttemptWriter(run, worker=0)
    claim(run, 0, 1, writer.name, 0, 10)
    writer.give_up(0, FailureKind.CRASH, "it died three times")
    writer.end()
    for shard in (1, 2, 3, 4, 5):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    (made,) = end(run, Ending())
    assert (of(made), made.resources.attempt) == ("0-9", 2)


def limit(run: RunDir, samples: int) -> None:
    submission = Submission.read(run.submission(1))
    replace(submission, node=NodeSettings(max_failed_samples=samples)).write(run.submission(1))


def share_shard(run: RunDir, *, again: bool = False) -> None:
    """Shard 0 by two attempts, in each of whose batches a sample fails; the second is done ``again`` by the first."""
    writers = [AttemptWriter(run, worker=worker) for worker in (0, 1)]
    claim(run, 0, 1, writers[0].name, 0, 5)
    claim(run, 0, 2, writers[1].name, 5, 10)
    writers[0].commit(0, 5, bad=[1])
    writers[1].commit(5, 10, bad=[6])
    if again:
        writers[0].commit(5, 10, bad=[6])
        writers[0].beat(shared={0: 2})
    for writer in writers:
        writer.end()


@pytest.mark.parametrize("allowed", [1, 2])
def test_failed_samples_of_several_attempts_count_together(run: RunDir, allowed: int) -> None:
    limit(run, allowed)
    share_shard(run)
    (made,) = end(run, Ending({index: Failure(FailureKind.LOST, "no word", -1) for index in range(1, 6)}))
    assert of(made) == "10-59"
    failed = {0: "TOO_MANY_FAILED_SAMPLES"} if allowed < 2 else {}
    assert outcome_of(run) == {**dict.fromkeys(range(1, 6), "LOST"), **failed}


def test_what_two_attempts_did_counts_once(run: RunDir) -> None:
    limit(run, 2)
    share_shard(run, again=True)
    end(run, Ending())
    assert 0 not in outcome_of(run)


def test_those_that_follow_are_told_of_failed_samples_before(run: RunDir) -> None:
    limit(run, 5)
    writer = AttemptWriter(run, worker=0)
    claim(run, 0, 1, writer.name, 0, 10)
    writer.commit(0, 5, bad=[1, 3])
    writer.end(EndReason.STOPPED)
    for shard in (1, 2, 3, 4, 5):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    (made,) = end(run, Ending())
    assert (of(made), dict(made.failed_before)) == ("5-9", {0: 2})


def test_a_rerun_that_took_the_rows_meanwhile_has_them(run: RunDir) -> None:
    for shard in range(6):
        write_attempt(run, shard, EndReason.DONE if shard else EndReason.STOPPED, commits=2 if shard else 0)
    Outcome(0.0).write(run, 1)
    person = create(run, replace(Submission.read(run.submission(1)), rows=Spans([(0, 10)])))
    assert end(run, Ending()) == []
    assert run.submission_numbers() == [1, person.number]


def test_the_result_is_gathered_when_all_is_done(run: RunDir) -> None:
    for shard in range(6):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    assert end(run, Ending()) == []
    assert run.result.exists()
    outcome = Outcome.read(run, 1)
    assert outcome
    assert outcome.failed_samples == 0


def test_the_result_is_not_gathered_while_another_shard_has_failed(run: RunDir) -> None:
    limit(run, 0)
    share_shard(run)
    for shard in (1, 2, 3, 4, 5):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    assert end(run, Ending()) == []
    outcome = Outcome.read(run, 1)
    assert outcome
    assert (run.result.exists(), outcome.error, outcome.failed_samples) == (False, None, None)


def test_nodes_of_an_array_task_share_its_index(run: RunDir) -> None:
    """Three tasks of two nodes: ranges 2 and 3 are of task 1."""
    submission = Submission.read(run.submission(1))
    resources = replace(submission.resources, nodes_per_task=2)
    replace(submission, tasks=3, resources=resources).write(run.submission(1))
    tasks = {1: Failure(FailureKind.NODE_FAIL, "gone", -1)}
    made = end(run, Ending(tasks, {1: Allocation("n9")}), terms=Terms(1, 4 * GIB, 3600))
    assert {of(one): (one.tasks, one.resources.options["not"]) for one in made} == {
        "20-39": (1, "n9"),
        "0-19,40-59": (2, ""),
    }


def test_a_result_that_somebody_began_before_the_last_row_does_not_stay(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.retry.finalize._BUSY_WAIT", 0.0)
    for shard in range(6):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    person = ExitStack()  # who gathers with --allow-missing, and is done when finalize has met it
    result = person.enter_context(NewResult(run.result))
    result.temporary.write_bytes(b"without the last shard")
    person.callback(result.publish)
    submission, asked = Submission.read(run.submission(1)), WithoutLimits(Terms())
    finalize(run, Plan.read(run.plan), submission, Ending(), asked, RetrySettings(), tick=person.close)
    assert len(datasets(run.result)["status"]) == 60


def test_one_who_stands_still_over_the_same_result_is_not_waited_for_without_end(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.retry.finalize._BUSY_WAIT", 0.0)
    monkeypatch.setattr("launcher.retry.finalize._BUSY_SILENCE", 0.2)
    for shard in range(6):
        write_attempt(run, shard, EndReason.DONE, commits=2)
    submission, asked = Submission.read(run.submission(1)), WithoutLimits(Terms())
    with NewResult(run.result):
        finalize(run, Plan.read(run.plan), submission, Ending(), asked, RetrySettings())
    outcome = Outcome.read(run, 1)
    assert outcome
    assert outcome.error
    assert "another process is gathering this result" in outcome.error
    assert "launcher gather" in outcome.error
    assert not run.result.exists()


def test_a_submission_of_another_plan_ends_and_nothing_follows(run: RunDir) -> None:
    submission = replace(Submission.read(run.submission(1)), plan="another")
    assert not finalize(run, Plan.read(run.plan), submission, Ending(), WithoutLimits(Terms()), RetrySettings())
    outcome = Outcome.read(run, 1)
    assert outcome
    assert outcome.error
    assert "of another plan" in outcome.error
    assert run.submission_numbers() == [1]


def overlapping(run: RunDir, before: RunDir) -> None:
    """From now on the run takes the samples of the one ``before`` it while that goes on."""
    plan = Plan.read(before.plan)
    seal = plan_seal(plan, plan.results[0])
    upstream = Upstream(str(before.path), None, (), keeps_failed=True, seal=seal, overlaps=True)
    with_upstream(Plan.read(run.plan), upstream).write(run.plan)


def test_a_batch_of_which_some_samples_are_not_there_waits_as_a_whole(run: RunDir, tmp_path: Path) -> None:
    """The batches of the run before are others: it has done rows 0 to 11, and goes on."""
    before = build_plan(tmp_path / "before", (0, 60), batch_size=4)
    overlapping(run, before)
    there = AttemptWriter(before)
    there.commit_all(Spans([(0, 12)]))
    there.beat()
    write_attempt(run, 0, EndReason.DONE)
    (made,) = end(run, Ending())
    assert of(made) == "0-9"


def test_rows_that_are_to_come_go_on_with_the_others_where_all_were_killed(run: RunDir, tmp_path: Path) -> None:
    before = build_plan(tmp_path / "before", (0, 60), batch_size=4)
    overlapping(run, before)
    there = AttemptWriter(before)
    there.commit_all(Spans([(0, 12)]))
    there.beat()
    write_attempt(run, 0, None)
    tasks = {index: Failure(FailureKind.LOST, "no word", -1) for index in range(6)}
    (made,) = end(run, Ending(tasks))
    assert of(made) == "0-59"
