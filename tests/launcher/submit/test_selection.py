"""Which rows a new submission gets: those that are open and in nobody's hands; of shards asked for, what is spoilt too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import RunError
from jobs.kinds import EndReason, FailureKind
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.claims import ClaimFolder
from jobs.storage.layouts import read_layout
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Submission
from launcher.config.config import load_config
from launcher.plan.plan import make_plan
from launcher.runs.find import reference
from launcher.runs.submissions import Outcome, read_submissions
from launcher.submit import submit as submit_module
from launcher.submit.submit import Selection, discard_planned, nothing_to_do, record, select_rows, submit, write_planned
from tests.support import builders
from tests.support.builders import AttemptWriter, build_plan, build_run, damage, write_shard, write_stub_result
from tests.support.launcher_runs import write_config

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Four shards of 16 rows in batches of 4, and a submission of all that has ended."""
    run = build_plan(tmp_path / "run", range(0, 65, 16), batch_size=4)
    Outcome(1.0).write(run, 1)
    return run


def select(run: RunDir, asked: Sequence[int] | None = None) -> Selection:
    return select_rows(run, Plan.read(run.plan), asked)


def told(selection: Selection) -> list[str]:
    """Rows, shards, reopened, running, kept."""
    found = (selection.rows, selection.shards, selection.reopened, selection.running, selection.kept)
    return list(map(str, found))


def goes_on(run: RunDir, number: int, rows: Spans) -> None:
    """A submission in the hands of this process."""
    made = builders.submit(run, number, rows=rows, claims=True)
    replace(made, process=ProcessIdentity.current().to_json()).write(run.submission(number))


def test_of_a_run_that_nobody_began_it_is_everything(run: RunDir) -> None:
    selection = select(run)
    assert told(selection) == ["0-63", "0-3", "", "", ""]
    assert selection.is_first


def test_batches_that_are_done_are_left_out(run: RunDir) -> None:
    write_shard(run, 0)
    write_shard(run, 2, batches=[32, 40], done=False)
    assert told(select(run)) == ["16-31,36-39,44-63", "1-3", "", "", "0"]
    assert told(select(run, [0, 2])) == ["36-39,44-47", "2", "", "", "0"]
    assert not select(run).is_first


def test_rows_in_other_hands_are_left_out_and_the_rest_of_their_shards_is_not(run: RunDir) -> None:
    write_shard(run, 0)
    goes_on(run, 2, Spans([(16, 24), (48, 64)]))
    assert told(select(run)) == ["24-47", "1-2", "", "3", "0"]
    assert told(select(run, [0, 3])) == ["", "", "", "3", "0"]
    assert not select(run).is_first
    with pytest.raises(RunError, match=r"waits or runs already \(shards 3\)"):
        submit(run, load_config(write_config(run.path.parent)), select(run, [3]))


def test_an_attempt_that_outlived_its_submission_keeps_its_shards(run: RunDir) -> None:
    """As a task whose executor was killed, and which has not noticed yet."""
    writer = AttemptWriter(run, process=ProcessIdentity.current().to_json(), host=ProcessIdentity.current().host)
    writer.hold(16, 32)
    writer.commit(16, 20)
    writer.beat(begun=24)
    assert told(select(run)) == ["0-15,32-63", "0,2-3", "", "1", ""]
    writer.close()


def test_a_submission_that_nothing_works_on_is_abandoned_and_its_rows_are_free(run: RunDir) -> None:
    run.outcome(1).unlink()
    gone = {**ProcessIdentity.current().to_json(), "pid": 1, "start": 1}
    replace(Submission.read(run.submission(1)), process=gone).write(run.submission(1))
    selection = select(run)
    assert (told(selection)[0], selection.abandoned) == ("0-63", (1,))


def test_only_of_shards_asked_for_batches_with_failed_samples_are_redone(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", range(0, 65, 16), failed=[3, 17, 30, 63], batch_size=4)
    Outcome(1.0).write(run, 1)
    assert told(select(run)) == ["", "", "", "", "0-3"]
    assert told(select(run, [0, 1, 2])) == ["0-3,16-19,28-31", "0-1", "0-1", "", "2"]


def test_only_of_shards_asked_for_damaged_batches_are_redone(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", range(0, 65, 16), batch_size=4)
    Outcome(1.0).write(run, 1)
    damage(run, 21, "vector")
    damage(run, 33, "text")
    assert told(select(run)) == ["", "", "", "", "0-3"]
    assert told(select(run, [1])) == ["20-23", "1", "1", "", ""]
    assert told(select(run, [0, 1, 2, 3])) == ["20-23,32-35", "1-2", "1-2", "", "0,3"]


def test_what_an_older_attempt_still_counts_for_is_done_when_a_redo_has_ended_without_it(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", range(0, 65, 16), failed=[3], batch_size=4)
    Outcome(1.0).write(run, 1)
    builders.submit(run, 2, rows=Spans([(0, 4)]))
    Outcome(2.0, cancelled=True).write(run, 2)
    assert told(select(run)) == ["", "", "", "", "0-3"]
    assert told(select(run, [0])) == ["0-3", "0", "0", "", ""]


def test_a_shard_that_failed_with_no_row_open_has_its_failed_batches_redone(run: RunDir) -> None:
    """Two attempts shared shard 1: together more samples failed than may, as neither knew."""
    replace(Submission.read(run.submission(1)), node=NodeSettings(max_failed_samples=1)).write(run.submission(1))
    for worker, (start, bad) in enumerate([(16, 18), (24, 31)]):
        writer = AttemptWriter(run, worker=worker)
        writer.commit_all(Spans([(start, start + 8)]), bad=[bad])
        writer.end()
    for shard in (0, 2, 3):
        write_shard(run, shard)
    assert told(select(run)) == ["16-19,28-31", "1", "", "", "0,2-3"]


def test_a_shard_that_was_given_up_is_gone_on_with_where_it_stopped(run: RunDir) -> None:
    writer = AttemptWriter(run, worker=1)
    writer.commit(16, 20, bad=[17])
    writer.give_up(1, FailureKind.TOO_MANY_FAILED_SAMPLES, "1 of 16 samples failed")
    writer.end()
    for shard in (0, 2, 3):
        write_shard(run, shard)
    assert told(select(run)) == ["20-31", "1", "", "", "0,2-3"]
    made = record(run, load_config(write_config(run.path.parent)), select(run).rows)
    assert dict(made.failed_before) == {1: 1}


@patient
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(1, 16), st.booleans()), max_size=5))
def test_what_is_selected_is_what_is_open_less_what_others_have(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int, bool]]
) -> None:
    """``pieces`` of batches, done by an attempt or in the hands of a submission that goes on."""
    run = build_plan(tmp_path_factory.mktemp("drawn") / "run", range(0, 65, 16), batch_size=4)
    Outcome(1.0).write(run, 1)
    done, taken = Spans(), Spans()
    for number, (first, batches, is_done) in enumerate(pieces):
        rows = Spans([(4 * first, min(4 * (first + batches), 64))])
        if is_done:
            writer = AttemptWriter(run, worker=number)
            writer.commit_all(rows)
            writer.end(EndReason.STOPPED)
            done |= rows
        else:
            goes_on(run, number + 2, rows)
            taken |= rows
    selection = select(run)
    table = Plan.read(run.plan).table
    assert selection.rows == Spans([(0, 64)]) - done - taken
    assert selection.shards == table.shards_in(selection.rows)
    assert not selection.running & selection.shards
    assert not selection.kept & (selection.shards | selection.running)
    assert selection.is_first == (not done and not taken)


# --- starting it


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run of a config that no executor gets."""
    monkeypatch.setattr("launcher.local.local_executor.LocalExecutor.start", lambda *_, attached: list(_[2]))
    return make_plan(load_config(write_config(tmp_path))).run


def start(run: RunDir) -> Submission:
    (made,) = submit(run, load_config(run.path.parents[1] / "config.yaml"), select(run))
    return made


def test_what_a_first_attempt_said_of_the_outputs_goes_if_nothing_was_stored(planned: RunDir) -> None:
    planned.layout.write_text("{}")
    start(planned)
    assert not planned.layout.exists()


@pytest.mark.parametrize("text", [None, "", '{"type": "layout", "outp', "[]", '{"type": "layout", "outputs": []}'])
def test_outputs_that_are_damaged_or_gone_are_made_anew_from_what_is_stored(planned: RunDir, text: str | None) -> None:
    builders.submit(planned, 1)
    Outcome(1.0).write(planned, 1)
    write_shard(planned, 0)
    before = read_layout(planned)
    planned.layout.unlink()
    if text is not None:
        planned.layout.write_text(text)
    start(planned)
    assert before
    assert read_layout(planned) == before


def test_a_launcher_that_comes_too_late_leaves_the_outputs(planned: RunDir) -> None:
    config, late = load_config(planned.path.parents[1] / "config.yaml"), select(planned)
    start(planned)
    planned.layout.write_text("what its first batch said")
    with pytest.raises(RunError, match="submission 1 is running these shards"):
        submit(planned, config, late)
    assert planned.layout.exists()


def test_what_is_stored_keeps_the_outputs(planned: RunDir) -> None:
    builders.submit(planned, 1)
    Outcome(1.0).write(planned, 1)
    write_shard(planned, 0)
    start(planned)
    assert planned.layout.exists()


def test_a_submission_has_a_claims_folder_and_ranges_for_its_tasks(planned: RunDir) -> None:
    made = start(planned)
    assert (made.rows, made.tasks, made.ranges) == (Spans([(0, 100)]), 2, ((0, 50), (50, 100)))
    assert ClaimFolder(planned.claims(1)).is_open()
    assert Submission.read(planned.submission(1)) == made


def test_a_rerun_while_something_runs_takes_the_rest(planned: RunDir) -> None:
    goes_on(planned, 1, Spans([(0, 50)]))
    made = start(planned)
    assert (made.number, made.rows, made.tasks) == (2, Spans([(50, 100)]), 2)
    with pytest.raises(RunError, match=r"waits or runs already \(shards 0-3\)"):
        start(planned)
    assert planned.submission_numbers() == [1, 2]


def test_submissions_that_nothing_works_on_end_when_another_is_started(planned: RunDir) -> None:
    gone = {**ProcessIdentity.current().to_json(), "pid": 1, "start": 1}
    replace(builders.submit(planned, 1, claims=True), process=gone).write(planned.submission(1))
    assert start(planned).number == 2
    assert Outcome.read(planned, 1)
    assert not planned.claims(1).exists()


def test_a_planned_submission_makes_room_unless_somebody_has_begun_it(planned: RunDir) -> None:
    config = load_config(planned.path.parents[1] / "config.yaml")
    assert write_planned(planned, config, Plan.read(planned.plan)) == []  # this machine needs no script
    made = record(planned, config, Spans([(0, 100)]), planned=True)
    discard_planned(planned)
    assert read_submissions(planned) == []
    assert not planned.claims(made.number).exists()
    made = record(planned, config, Spans([(0, 100)]), planned=True)
    AttemptWriter(planned, made.number).close()
    discard_planned(planned)
    assert [known.number for known in read_submissions(planned)] == [made.number]


def test_who_discards_a_planned_submission_leaves_one_that_has_got_its_number(
    planned: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(planned.path.parents[1] / "config.yaml")
    record(planned, config, Spans([(0, 100)]), planned=True)
    seen = read_submissions(planned)
    started = start(planned)
    monkeypatch.setattr(submit_module, "read_submissions", lambda run: seen)
    discard_planned(planned)
    assert Submission.read(planned.submission(1)) == started
    assert planned.claims(1).is_dir()


def test_a_planned_submission_that_somebody_began_and_lost_ends_when_another_is_started(planned: RunDir) -> None:
    config = load_config(planned.path.parents[1] / "config.yaml")
    made = record(planned, config, Spans([(0, 100)]), planned=True)
    AttemptWriter(planned, made.number).close()
    assert start(planned).number == 2
    assert Outcome.read(planned, 1)


def test_why_there_is_nothing_to_do_is_said(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", range(0, 65, 16), batch_size=4)
    Outcome(1.0).write(run, 1)
    assert f"write the result with `launcher gather {reference(run)}`" in nothing_to_do(run, select(run))
    write_stub_result(run)
    assert f"there is a result; check it with `launcher verify {reference(run)}`" in nothing_to_do(run, select(run))
