"""Columns of another run are what that one has stored, for any rows, asked for in any pieces; or nothing is given at all."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import RunError
from jobs.gather import upstream_rows
from jobs.gather.upstream_rows import UpstreamRows, find
from jobs.kinds import SampleFailureKind
from jobs.storage.plans import Plan
from jobs.storage.records import Commit, FailedSample
from jobs.storage.rundir import RunDir
from jobs.storage.samples import Samples
from jobs.storage.spans import Spans
from jobs.storage.upstreams import ROW, Upstream, stored_seal
from tests.support.builders import (
    AttemptWriter,
    build_plan,
    build_run,
    damage,
    everything,
    submit,
    write_manifest,
)

ROWS = 64
BAD = [3, 16, 17]
ALL = np.arange(ROWS)
NAMES = tuple(everything(ALL[:1]))


def upstream_of(run: RunDir, **fields: Any) -> Upstream:
    plan = Plan.read(run.plan)
    seal = stored_seal(run, plan, plan.results[0])
    return replace(Upstream(str(run.path), None, NAMES, keeps_failed=False, seal=seal), **fields)


def samples_of(folder: Path, upstream: Upstream, rows: Sequence[int]) -> Samples:
    """A manifest of these rows of the run."""
    write_manifest(folder / "manifest.arrow", {"x": rows, ROW: rows}, None)
    return Samples(folder / "manifest.arrow", (), UpstreamRows(upstream))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return build_run(tmp_path_factory.mktemp("runs") / "first", (0, 20, 50, ROWS), failed=BAD)


@settings(max_examples=40)
@given(
    rows=st.sets(st.integers(0, ROWS - 1).filter(lambda row: row not in BAD), min_size=1).map(sorted),
    size=st.integers(1, 20),
    known=st.integers(1, 4),
    gap=st.integers(1, 20),
    pieces=st.randoms(use_true_random=False),
)
def test_samples_have_what_the_run_has_stored(
    run: RunDir, rows: list[int], size: int, known: int, gap: int, pieces: Any
) -> None:
    expected = everything(ALL)
    starts = list(range(0, len(rows), size))
    pieces.shuffle(starts)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream_rows, "_BATCHES", known)
        patch.setattr(upstream_rows, "_GAP", gap)
        samples = samples_of(Path(folder), upstream_of(run), rows)
        for start in starts:
            for row, sample in zip(
                rows[start : start + size], samples.rows(start, min(start + size, len(rows))), strict=True
            ):
                assert list(sample) == ["x", ROW, *NAMES]
                assert len(sample) == len(NAMES) + 2
                assert sample["x"] == row
                for name in NAMES:
                    np.testing.assert_array_equal(sample[name], expected[name][row])
                    assert type(sample[name]) is type(expected[name][row])


def test_rows_may_come_in_any_order(run: RunDir, tmp_path: Path) -> None:
    """As those of a probe do."""
    rows = [row for row in np.random.default_rng(0).permutation(ROWS).tolist() if row not in BAD]
    texts = [sample["text"] for sample in samples_of(tmp_path, upstream_of(run), rows).rows(0, len(rows))]
    assert texts == [everything(ALL)["text"][row] for row in rows]


def test_what_a_job_does_to_its_sample_is_seen_by_nobody_else(run: RunDir, tmp_path: Path) -> None:
    samples = samples_of(tmp_path, upstream_of(run), [6, 7, 8, 9])  # of two batches
    for _ in range(2):
        for sample in samples.rows(0, 4):
            for name in ("vector", "boxes", "tokens"):
                np.testing.assert_array_equal(sample[name], everything(ALL)[name][sample["x"]])
                sample[name][...] = -1


def test_samples_that_failed_there_fail_here_where_they_are_kept(run: RunDir, tmp_path: Path) -> None:
    samples = samples_of(tmp_path, upstream_of(run, keeps_failed=True), list(range(ROWS)))
    found = samples.unreadable(10, 20)
    assert sorted(found) == [16, 17]
    assert str(found[16]) == "failed in first: LOAD: cannot read sample 16: ☠"
    assert samples_of(tmp_path, upstream_of(run), [0]).unreadable(0, 1) == {}


def test_one_that_failed_before_is_told_where_it_did_first(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "second", (0, 8))
    why = "FailedUpstreamError: failed in first: LOAD: no such file"
    writer = AttemptWriter(run)
    writer.record(Commit(0, 8, (), tuple(FailedSample(row, SampleFailureKind.LOAD, why, 1) for row in range(8))))
    writer.end()
    samples = samples_of(tmp_path, upstream_of(run, keeps_failed=True), list(range(8)))
    assert str(samples.unreadable(0, 8)[3]) == "failed in first: LOAD: no such file"


def test_a_damaged_block_is_no_samples_fault(tmp_path: Path) -> None:
    run = build_run(tmp_path / "first", (0, 32, ROWS))
    damage(run, 8, "text")
    samples = samples_of(tmp_path, upstream_of(run), list(range(ROWS)))
    assert next(iter(samples.rows(0, 8)))["text"] == everything(ALL)["text"][0]
    with pytest.raises(OSError, match=r"first.*rows 8-15: text: not on disk as it was written"):
        list(samples.rows(8, 16))


def test_rows_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    """A beat tells of a batch whose commit has gone from the journal."""
    run = build_plan(tmp_path / "first", (0, ROWS))
    writer = AttemptWriter(run)
    writer.commit_all(Spans([(0, 32)]))
    writer.beat(Spans([(0, ROWS)]))
    writer.end()
    samples = samples_of(tmp_path, upstream_of(run), list(range(ROWS)))
    with pytest.raises(OSError, match="not all that was committed of rows 40-43 is there"):
        list(samples.rows(40, 44))


@pytest.mark.parametrize("content", [b"{", None], ids=["damaged", "gone"])
def test_without_its_layout_the_journals_tell_what_a_run_has(tmp_path: Path, content: bytes | None) -> None:
    run = build_run(tmp_path / "first", (0, 20, 50, ROWS))
    run.layout.unlink()
    if content:
        run.layout.write_bytes(content)
    texts = [sample["text"] for sample in samples_of(tmp_path, upstream_of(run), [3, 40]).rows(0, 2)]
    assert texts == [everything(ALL)["text"][row] for row in (3, 40)]


def test_a_run_that_was_computed_again_since_is_not_read(tmp_path: Path) -> None:
    run = build_run(tmp_path / "first", (0, ROWS))
    upstream = upstream_of(run)
    assert UpstreamRows(upstream).names == NAMES
    submit(run, 2, rows=Spans([(0, 8)]))
    again = AttemptWriter(run, 2)
    again.commit(0, 8, lambda rows: everything(rows + 1))
    again.end()
    find.cache_clear()  # another process
    with pytest.raises(RunError, match=r"^run first was computed again since this run was planned$"):
        UpstreamRows(upstream)


def test_a_run_that_was_not_complete_or_is_gone_is_not_read(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="was not complete when this run was planned"):
        UpstreamRows(upstream_of(run, seal=""))
    with pytest.raises(RunError, match=r"is gone: there is no .*/none/plan\.json"):
        UpstreamRows(replace(upstream_of(run), run=str(tmp_path / "none")))


def test_without_outputs_no_data_file_is_opened(run: RunDir, tmp_path: Path) -> None:
    """Columns of the manifest alone: what is read of the other run is who has done it."""
    rows = UpstreamRows(upstream_of(run, outputs=()))
    assert rows.values(pa.RecordBatch.from_pydict({ROW: [1, 2]})) == {}
    assert Plan.read(run.plan).rows == ROWS
