"""A line of a journal, or another file of a run, that went bad on the disk: rows are computed again, and none is lost."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from jobs.errors import LauncherError, RunError
from jobs.gather.gather import gather
from jobs.gather.verify import verify
from jobs.storage.attempts import Attempts, owners, read_records
from jobs.storage.journal import read_lines
from jobs.storage.layouts import agree, forget, read_layout, restore
from jobs.storage.plans import Plan
from jobs.storage.records import Layout, Output
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher.runs.submissions import Outcome
from launcher.submit.submit import select_rows
from tests.jobs.gather.test_gather import check_outputs
from tests.support.builders import AttemptWriter, build_plan, build_run, flip_byte, submit
from tests.support.launcher_runs import launcher, run_of, write_config

ALL = set(range(64))
FIRST = "0001-00000--"
"""A name that comes before all of the submission's."""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """64 samples in 3 shards, done by an attempt each; each said twice what it had done."""
    run = build_run(tmp_path / "run", (0, 20, 50, 64))
    Outcome(1.0).write(run, 1)
    return run


def lines(run: RunDir) -> Iterator[tuple[Path, int]]:
    """The journals' lines, by their first byte."""
    for journal in sorted(run.attempts.glob("*.journal")):
        yield from ((journal, at) for at, _ in read_lines(journal))


def compute_again(run: RunDir, asked: Sequence[int] | None) -> Spans:
    """What a rerun does, but for its array tasks; returns the rows."""
    plan = Plan.read(run.plan)
    rows = select_rows(run, plan, asked).rows
    if rows:
        restore(run)
        submit(run, 2, rows=rows)
        Outcome(1.0).write(run, 2)
        again = AttemptWriter(run, 2, 0)
        again.commit_all(rows)
        again.end()
    return rows


def test_whichever_line_went_bad_its_rows_are_computed_again_and_all_is_right(run: RunDir, tmp_path: Path) -> None:
    shards = range(Plan.read(run.plan).shard_count)
    for number, (journal, at) in enumerate(lines(run)):
        damaged = RunDir(tmp_path / f"damaged-{number}")
        shutil.copytree(run.path, damaged.path)
        flip_byte(damaged.attempts / journal.name, at)
        try:
            is_whole = verify(damaged).ok and gather(damaged).complete
        except LauncherError:
            is_whole = False
        rows = compute_again(damaged, shards)
        assert bool(rows) != is_whole, f"{journal.name}, line at {at}"
        assert gather(damaged).complete
        assert verify(damaged).ok
        check_outputs(damaged.result, 64, ALL)


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 64], ids=["empty", "torn", "zeros"])
def test_a_journal_that_is_gone_or_empty_costs_its_rows_and_no_more(run: RunDir, content: bytes) -> None:
    journal = min(run.attempts.glob("*.journal"))
    journal.write_bytes(content)
    assert compute_again(run, None) == Spans([(0, 20)])
    assert gather(run).complete
    check_outputs(run.result, 64, ALL)


def test_a_layout_that_went_bad_is_made_anew_from_the_journals(run: RunDir) -> None:
    whole, text = read_layout(run), run.layout.read_bytes()
    for at in range(0, len(text), 7):
        run.layout.write_bytes(text)
        flip_byte(run.layout, at)
        restore(run)
        assert read_layout(run) == whole


def test_a_layout_that_went_bad_in_all_places_is_that_of_the_next_batch(run: RunDir) -> None:
    whole = read_layout(run)
    assert whole
    flip_byte(run.layout, 20)
    with pytest.raises(RunError, match="launcher rerun"):
        read_layout(run)
    for journal in run.attempts.glob("*.journal"):
        journal.write_bytes(journal.read_bytes().replace(b'"layout"', b'"lay0ut"'))
    assert agree(run, whole) == whole
    assert read_layout(run) == whole


def test_what_an_attempt_has_just_found_of_the_outputs_stays_when_rows_are_submitted_beside_it(tmp_path: Path) -> None:
    """Its beat comes later: until then no journal has it, and another process may have it from the file."""
    run = build_plan(tmp_path / "run", (0, 20, 40))
    nothing, numbers = (Layout((Output("found", True, dtype, (), open=dtype == "<f8"),)) for dtype in ("<f8", "<i8"))
    with AttemptWriter(run) as writer:
        writer.commit_all(Spans([(0, 20)]), lambda rows: {"found": [[] for _ in rows]})
        writer.beat()
    assert agree(run, numbers) == numbers
    restore(run)
    assert agree(run, nothing) == numbers
    forget(run)
    assert not list(run.path.glob("layout*"))
    restore(run)
    assert read_layout(run) == nothing


def test_empty_lists_of_any_kind_say_nothing_new_of_the_outputs(run: RunDir) -> None:
    forget(run)
    first, other = (Layout((Output("found", True, dtype, (), open=True),)) for dtype in ("<f8", "<f4"))
    assert [agree(run, one) for one in (first, other, first)] == [first] * 3
    assert [path.name for path in run.path.glob("layout*")] == [run.layout.name]


def test_an_attempt_for_another_plan_does_not_count(run: RunDir) -> None:
    stranger = AttemptWriter(run, 1, name=FIRST, plan="e" * 16)
    stranger.commit_all(Spans([(0, 20)]), lambda rows: {"other": np.zeros(len(rows))})
    stranger.end()
    assert FIRST not in {one.attempt.name for one in owners(Attempts(run).read())}
    assert gather(run).complete
    check_outputs(run.result, 64, ALL)


def test_a_rerun_mends_what_went_bad_of_a_real_run(tmp_path: Path) -> None:
    config = write_config(tmp_path, 40, shards=2)
    run = run_of(config)
    assert launcher(tmp_path, "run", config).returncode == 0
    with h5py.File(run.result) as file:
        before = {
            name: file[name][()] for name in file if name not in ("errors", "summary") and hasattr(file[name], "shape")
        }
    (journal, *_) = sorted(run.attempts.glob("*.journal"))
    kinds = [getattr(record, "type", "") for record in read_records(journal)]
    at = [at for at, _ in read_lines(journal)][kinds.index("layout")]
    flip_byte(journal, at)
    flip_byte(run.layout, run.layout.stat().st_size // 2)
    assert launcher(tmp_path, "verify", "toy").returncode == 1
    again = launcher(tmp_path, "run", config)
    assert again.returncode == 0 or "rerun" in again.stdout + again.stderr
    rerun = launcher(tmp_path, "rerun", "toy", "--shards", "0-1")
    assert rerun.returncode == 0, rerun.stderr
    assert launcher(tmp_path, "status", "toy", "--watch").returncode == 0
    assert launcher(tmp_path, "verify", "toy").returncode == 0
    with h5py.File(run.result) as file:
        assert all(np.array_equal(file[name][()], values) for name, values in before.items())
