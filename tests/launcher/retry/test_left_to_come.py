"""Which rows an ended submission has left that takes samples of a run that goes on: what was not there costs no attempt."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher.config.settings import RetrySettings
from launcher.retry.finalize import Ending, WithoutLimits, finalize
from launcher.retry.policy import Terms
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome
from tests.support.builders import AttemptWriter, submit
from tests.support.overlaps import PARTS, build_downstream, build_upstream, do, end_submission, take, upstream_of


@pytest.fixture
def first(tmp_path: Path) -> RunDir:
    return build_upstream(tmp_path)


@pytest.fixture
def second(tmp_path: Path, first: RunDir) -> RunDir:
    """Of two array tasks, whose own ranges are the halves."""
    return with_halves(build_downstream(tmp_path, upstream_of(first)))


def with_halves(run: RunDir, rows: int = 64) -> RunDir:
    ranges, node = ((0, rows // 2), (rows // 2, rows)), NodeSettings(max_failed_samples=rows)
    Submission(1, "local", 0.0, 2, Spans([(0, rows)]), ranges, node).write(run.submission(1))
    run.claims(1).mkdir()
    return run


def end(run: RunDir, tasks: dict[int, Failure] | None = None, *, attempts: int = 3) -> list[Submission]:
    asked, plan = WithoutLimits(Terms()), Plan.read(run.plan)
    return finalize(
        run, plan, Submission.read(run.submission(1)), Ending(tasks or {}), asked, RetrySettings(attempts=attempts)
    )


def followed(run: RunDir, tasks: dict[int, Failure] | None = None, **options: int) -> dict[str, int]:
    """The rows of those that follow, with the number of the attempt that they are."""
    return {str(made.rows): made.resources.attempt for made in end(run, tasks, **options)}


def failures(run: RunDir) -> dict[int, str]:
    outcome = Outcome.read(run, 1)
    assert outcome
    return {shard: str(failure.kind) for shard, failure in outcome.failures.items()}


def claim(run: RunDir, range_: int, writer: AttemptWriter, start: int, stop: int) -> None:
    assert ClaimFolder(run.claims(1)).take(Claim(range_, 1, writer.name, start, stop))


def fail(run: RunDir, rows: str, kind: FailureKind, worker: int = 0) -> None:
    """An attempt that failed when it had begun with these rows."""
    with AttemptWriter(run, worker=worker) as writer:
        start, stop = next(iter(Spans.parse(rows)))
        claim(run, worker, writer, start, stop)
        writer.beat(end=EndReason.FAILED, kind=kind, message="no")


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_was_not_there_is_left_by_those_that_ended_well(first: RunDir, second: RunDir, goes_on: bool) -> None:
    do(first, "0-15")
    take(second, "0-15")
    take(second, "", worker=1)
    if not goes_on:
        end_submission(first)
    assert end(second) == []
    assert failures(second) == {}


def test_what_has_come_since_they_left_costs_no_attempt(first: RunDir, second: RunDir) -> None:
    """Even where one attempt is all: they did not try."""
    do(first, "0-15,40-47")
    take(second, "0-15")
    take(second, "", worker=1)
    assert followed(second, attempts=1) == {"40-47": 1}
    assert failures(second) == {}


def test_what_has_come_of_a_batch_waits_for_the_rest_of_it(tmp_path: Path, first: RunDir) -> None:
    second = with_halves(build_downstream(tmp_path, upstream_of(first), batch_size=16))
    do(first, "0-23,32-55")
    take(second, "0-15")
    take(second, "", worker=1)
    assert followed(second) == {"32-47": 1}


def test_of_a_run_that_has_grown_nothing_more_is_to_come(tmp_path: Path, first: RunDir) -> None:
    second = with_halves(build_downstream(tmp_path, upstream_of(first), rows=40), 40)
    do(first, "0-15")
    take(second, "0-15")
    take(second, "", worker=1)
    assert end(second) == []


def test_it_costs_one_where_nothing_was_done_so_that_it_ends(first: RunDir, second: RunDir) -> None:
    do(first, "40-47")
    take(second, "")
    take(second, "", worker=1)
    assert followed(second) == {"40-47": 2}


def test_what_one_failed_at_is_tried_again(first: RunDir, second: RunDir) -> None:
    do(first, "0-7,40-47")
    end_submission(first)
    fail(second, "0-7", FailureKind.CRASH)
    take(second, "40-47", worker=1)
    assert followed(second) == {"0-7": 2}
    assert failures(second) == {0: "CRASH"}


def test_with_it_goes_what_the_same_task_would_have_waited_for(first: RunDir, second: RunDir) -> None:
    """It needs more memory for all of them, say; the other one has left when nothing came any more."""
    do(first, "0-7,40-47")
    fail(second, "0-7", FailureKind.CRASH)
    take(second, "40-47", worker=1)
    assert followed(second) == {"0-31": 2}


def test_so_it_is_where_an_array_task_never_began(first: RunDir, second: RunDir) -> None:
    do(first, "0-7")
    take(second, "0-7")
    assert followed(second, {1: Failure(FailureKind.LAUNCH, "no node", -1)}) == {"32-63": 2}


def test_what_is_not_there_is_no_failure_of_an_array_task_that_never_began_and_needs_not(
    first: RunDir, second: RunDir
) -> None:
    do(first, "0-7")
    take(second, "0-7")
    assert end(second) == []
    assert failures(second) == {}


def test_what_was_left_although_it_was_there_is_a_failure(first: RunDir, second: RunDir) -> None:
    """As of any run: an attempt began with it."""
    do(first, "0-15")
    with AttemptWriter(second) as writer:
        claim(second, 0, writer, 0, 16)
        writer.commit_all(Spans([(0, 8)]))
        writer.beat(end=EndReason.DONE, taken={1: Spans([(0, 16)])})
    take(second, "", worker=1)
    assert followed(second) == {"8-15": 2}
    assert failures(second) == {0: "LOST"}


def test_what_was_done_again_there_meanwhile_is_done_again(first: RunDir, second: RunDir) -> None:
    do(first, "0-63")
    submit(first, 2, rows=Spans([(8, 16)]))
    do(first, "8-15", submission=2)
    take(second, "0-31")
    take(second, "32-63", worker=1)
    assert followed(second, attempts=1) == {"8-15": 1}


def test_it_is_done_once_and_then_all_is_done(first: RunDir, second: RunDir) -> None:
    do(first, "0-63")
    submit(first, 2, rows=Spans([(8, 16)]))
    do(first, "8-15", submission=2)
    take(second, "0-31")
    take(second, "32-63", worker=1)
    (made,) = end(second)
    take(second, "8-15", submission=made.number, of=2)
    assert finalize(second, Plan.read(second.plan), made, Ending(), WithoutLimits(Terms()), RetrySettings()) == []
    assert second.result.exists()


def test_rows_of_one_of_several_manifests_are_counted_from_its_first(tmp_path: Path) -> None:
    first = build_upstream(tmp_path, parts=PARTS)
    second = with_halves(build_downstream(tmp_path, upstream_of(first, "test"), rows=40), 40)
    do(first, "0-27,44-51")
    take(second, "0-3")
    take(second, "", worker=1)
    assert followed(second) == {"20-27": 1}


def test_of_a_run_that_is_gone_nothing_is_to_come(first: RunDir, second: RunDir) -> None:
    take(second, "0-15")
    take(second, "", worker=1)
    first.plan.unlink()
    assert followed(second) == {"16-63": 2}


def test_a_submission_of_some_rows_is_followed_by_such(first: RunDir, second: RunDir) -> None:
    do(first, "0-63")
    known = Submission.read(second.submission(1))
    rows = Spans([(0, 8)])
    replace(known, rows=rows, ranges=((0, 8),), tasks=1, resources=Resources()).write(second.submission(1))
    take(second, "0-3")
    again = submit(first, 2, rows=Spans([(0, 4), (40, 44)]))
    do(first, "0-3,40-43", submission=again.number)
    assert set(followed(second)) == {"0-7"}


def test_what_is_done_again_and_again_ends(first: RunDir, second: RunDir) -> None:
    """Attempts that do not say what they have taken would follow each other for ever."""
    do(first, "0-63")
    take(second, "0-31")
    take(second, "32-63", worker=1)
    submit(first, 2, rows=Spans([(8, 16)]))
    do(first, "8-15", submission=2)
    (made,) = end(second)
    for _ in range(5):
        take(second, "8-15", submission=made.number, of=1)
        following = finalize(
            second,
            Plan.read(second.plan),
            made,
            Ending(),
            WithoutLimits(Terms(made.resources.attempt)),
            RetrySettings(),
        )
        if not following:
            return
        (made,) = following
    pytest.fail("it does not end")
