"""A run that another one overlaps with: what of that is stale, what is to come of it, and what plans say of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import RunError
from jobs.kinds import EndReason
from jobs.storage.attempts import Attempts, owners
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.upstreams import Upstream, plan_seal, refuse_outdated, stored_seal, ways_on
from tests.support.builders import change_plan, submit
from tests.support.overlaps import PARTS, build_downstream, build_upstream, do, take, upstream_of


@pytest.fixture
def first(tmp_path: Path) -> RunDir:
    return build_upstream(tmp_path)


@pytest.fixture
def second(tmp_path: Path, first: RunDir) -> RunDir:
    return build_downstream(tmp_path, upstream_of(first))


def again(run: RunDir, rows: str, number: int = 2) -> None:
    """A newer submission has done these, which an older one had done."""
    submit(run, number, rows=Spans.parse(rows))
    do(run, rows, submission=number).end()


# --- stale


def test_what_was_taken_is_right_until_another_submission_has_done_it_again(first: RunDir, second: RunDir) -> None:
    do(first, "0-23")
    take(second, "0-15")
    upstream = upstream_of(first)
    assert upstream.stale(second) == Spans()
    again(first, "8-19")
    assert upstream.stale(second) == Spans([(8, 16)])
    assert upstream.change(second) == "run first has computed 8 samples again since this run took them from it"


def test_two_attempts_of_one_submission_do_the_same(first: RunDir, second: RunDir) -> None:
    do(first, "0-23")
    take(second, "0-15")
    do(first, "0-23", worker=1)
    assert upstream_of(first).stale(second) == Spans()


def test_of_rows_that_were_taken_twice_the_newer_counts(first: RunDir, second: RunDir) -> None:
    do(first, "0-23")
    take(second, "0-15")
    again(first, "8-11")
    submit(second, 2, rows=Spans([(8, 12)]))
    take(second, "8-11", submission=2, of=2)
    assert upstream_of(first).stale(second) == Spans()


def test_what_was_taken_of_one_of_several_manifests_is_counted_from_its_first(tmp_path: Path) -> None:
    first = build_upstream(tmp_path, parts=PARTS)
    upstream = upstream_of(first, "test")
    second = build_downstream(tmp_path, upstream, rows=40)
    do(first, "0-63")
    take(second, "0-39")
    again(first, "20-27")
    assert upstream.stale(second) == Spans([(0, 4)])
    assert upstream.change(second) == "run first (test) has computed 4 samples again since this run took them from it"


def test_what_was_cleaned_or_is_gone_makes_nothing_stale(first: RunDir, second: RunDir) -> None:
    do(first, "0-23").end()
    take(second, "0-15")
    for path in first.attempts.glob("*"):
        path.unlink()
    first.cleaned.touch()
    assert upstream_of(first).stale(second) == Spans()
    upstream = upstream_of(first)
    first.plan.unlink()
    assert upstream.stale(second) == Spans()
    assert upstream.to_come() is None
    assert upstream.change(second) is None


def test_what_a_run_is_made_of_that_is_stale_itself_is_told_by_it(
    tmp_path: Path, first: RunDir, second: RunDir
) -> None:
    do(first, "0-63")
    take(second, "0-63")
    third = build_downstream(tmp_path / "below", upstream_of(second))
    take(third, "0-63")
    upstream = Upstream.of(Plan.read(third.plan))
    assert upstream
    assert upstream.change(third) is None
    again(first, "0-3")
    assert upstream.change(third) == "run first has computed 4 samples again since run second took them from it"
    assert "What is made of that comes first: launcher status " in ways_on(
        "third", Plan.read(third.plan), upstream, Spans()
    )


def test_what_to_do_is_said(first: RunDir, second: RunDir) -> None:
    do(first, "0-63")
    take(second, "0-63")
    refuse_outdated(second, Plan.read(second.plan))
    again(first, "0-3")
    with pytest.raises(RunError, match=r"--keep-results; to compute those again: launcher rerun \S+$"):
        refuse_outdated(second, Plan.read(second.plan))
    change_plan(first, created=0.0)
    with pytest.raises(RunError, match=r"--keep-results; to compute everything again: launcher rerun \S+ --fresh$"):
        refuse_outdated(second, Plan.read(second.plan))


# --- to come, kept, another


def test_what_is_to_come_is_what_no_beat_tells_of(tmp_path: Path) -> None:
    first = build_upstream(tmp_path, parts=PARTS)
    do(first, "0-3,28-31")
    assert upstream_of(first, "train").to_come() == Spans([(4, 24)])
    assert upstream_of(first, "test").to_come() == Spans([(0, 4), (8, 40)])
    assert replace(upstream_of(first, "test"), overlaps=False).to_come() is None


def test_of_what_is_kept_nothing_is_stale_and_whatever_is_done_again_makes_it_another(
    first: RunDir, second: RunDir
) -> None:
    do(first, "0-63")
    take(second, "0-63")
    again(first, "0-3")
    plan = Plan.read(first.plan)
    kept = replace(upstream_of(first), kept=stored_seal(first, plan, plan.results[0]))
    assert kept.stale(second) == Spans()
    assert kept.change(second) is None
    again(first, "4-7", 3)
    assert kept.is_another
    assert kept.change(second) == "run first was computed again since this run was planned"


def test_it_is_the_same_run_while_it_goes_on_and_another_once_it_is_planned_anew_or_has_grown(first: RunDir) -> None:
    known = upstream_of(first)
    do(first, "0-23").end(EndReason.DONE)
    again(first, "0-3")
    assert not known.is_another
    plan = Plan.read(first.plan)
    for changed in (replace(plan, created=plan.created + 1), replace(plan, fingerprint="g")):
        assert plan_seal(changed, changed.results[0]) != known.seal
    changed = replace(plan, rows=68, boundaries=(0, 24, 64, 68))
    assert plan_seal(changed, changed.results[0]) != known.seal


def test_a_part_that_another_plan_does_not_have_makes_it_another(tmp_path: Path) -> None:
    first = build_upstream(tmp_path, parts=PARTS)
    known = upstream_of(first, "test")
    change_plan(first, parts=())
    assert known.is_another
    assert known.to_come() == Spans()


# --- plans


def test_a_plan_says_nothing_of_what_older_versions_do_not_know(first: RunDir) -> None:
    known = upstream_of(first, overlaps=False)
    assert set(known.to_json()) == {"run", "manifest", "outputs", "keeps_failed", "seal", "omitted"}
    assert set(upstream_of(first).to_json()) == {*known.to_json(), "overlaps"}
    assert set(upstream_of(first, kept="x").to_json()) == {*known.to_json(), "overlaps", "kept"}


def test_a_plan_has_what_was_said(first: RunDir, second: RunDir) -> None:
    for upstream in (upstream_of(first), upstream_of(first, overlaps=False), upstream_of(first, kept="x")):
        change_plan(second, manifest={"fingerprint": "", "upstream": upstream.to_json()})
        assert Upstream.of(Plan.read(second.plan)) == upstream


def test_what_is_known_of_both_runs_need_not_be_read_again(first: RunDir, second: RunDir) -> None:
    do(first, "0-23")
    take(second, "0-15")
    again(first, "8-19")
    made, known = (owners(Attempts(run).read()) for run in (second, first))
    upstream = upstream_of(first)
    assert upstream.stale(second, made, known) == upstream.stale(second) == Spans([(8, 16)])
    assert upstream.stale(second, made, []) == Spans()
    assert upstream.change(second, stale=Spans()) is None
