import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import BusyError, DamageError, IncompleteError, InputError, OutputError, RunError
from jobs.gather.committed import KEPT_COMMITS, Committed
from jobs.gather.gather import gather
from jobs.gather.sources import read_sources
from jobs.job import Job
from jobs.kinds import SampleFailureKind
from jobs.storage.blocks import digest
from jobs.storage.outputs import without_values
from jobs.storage.plans import Plan
from jobs.storage.records import Block, Commit, DataFile, FailedSample, JobSpec, Layout, Output
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings
from tests.support.builders import (
    AttemptWriter,
    Compute,
    batches_of,
    build_plan,
    build_run,
    change_plan,
    damage,
    damage_commit,
    everything,
    find_blocks,
    flip_byte,
    owner_of,
    submit,
    vectors,
    write_shard,
)
from tests.support.examples import examples
from tests.support.launcher_runs import ROOT

# The machine may be busy with other things.


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """64 samples in 3 shards, all done; 3 samples failed, one batch of them as a whole."""
    return build_run(tmp_path / "run", (0, 20, 50, 64), failed=[3, 16, 17, 18, 19, 22])


def half_made(run: RunDir) -> list[Path]:
    """What gathers leave of results until these are whole."""
    return list(run.path.glob(".result.*.part.h5"))


def read_rows(item: Any) -> list[Any]:
    """One value a row of a fixed output or a group of values and offsets."""
    if isinstance(item, h5py.Dataset):
        return list(item[()])
    offsets, values = item["offsets"][()], item["values"][()]
    rows = [values[start:stop] for start, stop in itertools.pairwise(offsets)]
    encoding = item.attrs.get("encoding")
    return rows if encoding is None else [bytes(row) if encoding == "bytes" else bytes(row).decode() for row in rows]


def check_outputs(path: Path, rows: int, ok: set[int]) -> None:
    """Whether the outputs are those of ``everything``, with fill values where a row is not ok."""
    expected = everything(np.arange(rows))
    with h5py.File(path) as file:
        assert set(file) == {*expected, "id", "status", "errors", "summary"}
        for name, values in expected.items():
            found = read_rows(file[name])
            assert len(found) == rows
            for row in range(rows):
                if row in ok:
                    np.testing.assert_array_equal(found[row], values[row])
                elif isinstance(file[name], h5py.Dataset):
                    np.testing.assert_array_equal(found[row], without_values(values[row].shape, file[name].dtype))
                else:
                    assert len(found[row]) == 0


def test_the_result_holds_each_sample_in_manifest_order(run: RunDir) -> None:
    report = gather(run)

    check_outputs(run.result, 64, set(range(64)) - {3, 16, 17, 18, 19, 22})
    assert (report.rows, report.ok, report.failed, report.missing) == (64, 58, 6, 0)
    assert report.complete
    assert report.path == run.result
    assert report.bytes == run.result.stat().st_size
    assert report.damaged == ()
    assert not half_made(run)


def test_status_and_errors_tell_of_failed_samples(run: RunDir) -> None:
    gather(run)

    with h5py.File(run.result) as file:
        assert np.flatnonzero(file["status"][()] == 2).tolist() == [3, 16, 17, 18, 19, 22]
        assert np.count_nonzero(file["status"][()] == 1) == 58
        assert file["errors/row"][()].tolist() == [3, 16, 17, 18, 19, 22]
        assert file["errors/attempts"][()].tolist() == [2] * 6
        assert read_rows(file["errors/kind"]) == ["LOAD"] * 6
        assert read_rows(file["errors/message"])[0] == "cannot read sample 3: ☠"
        assert [file[name].dtype.str for name in ("status", "errors/row", "errors/attempts")] == ["|u1", "<i8", "<i4"]


def test_datasets_are_contiguous(run: RunDir) -> None:
    gather(run)

    with h5py.File(run.result) as file:
        layouts: dict[str, Any] = {}
        file.visititems(lambda name, item: layouts.update({name: getattr(item, "chunks", None)}))
    assert set(layouts.values()) == {None}


@pytest.mark.parametrize(
    "ids",
    [[f"böx/{n}.jpg" for n in range(12)], [n * 7 - 20 for n in range(12)], [n / 2 for n in range(12)], [""] * 12],
    ids=["text", "integers", "floats", "empty"],
)
def test_ids_are_those_of_the_id_column(tmp_path: Path, ids: list[Any]) -> None:
    run = build_run(tmp_path / "run", (0, 5, 12), vectors, ids=ids)

    gather(run)

    with h5py.File(run.result) as file:
        assert read_rows(file["id"]) == [str(one) for one in ids]
        assert file["id"].attrs["encoding"] == "utf-8"


def test_ids_of_many_record_batches_are_all_there(tmp_path: Path) -> None:
    rows = 150_000
    run = build_run(tmp_path / "run", (0, rows), vectors, ids=[f"s{n}" for n in range(rows)], batch_size=rows)

    gather(run)

    with h5py.File(run.result) as file:
        assert read_rows(file["id"]) == [f"s{n}" for n in range(rows)]


def test_without_an_id_column_ids_are_row_numbers(run: RunDir) -> None:
    gather(run)

    with h5py.File(run.result) as file:
        assert file["id"].dtype == np.int64
        assert file["id"][()].tolist() == list(range(64))


def test_provenance_names_plan_submissions_and_software(run: RunDir) -> None:
    change_plan(run, git={"commit": "abc"}, config={"name": "run", "words": ["x" * 100] * 10_000})
    gather(run)

    with h5py.File(run.result) as file:
        found = json.loads(file.attrs["provenance"])
    assert found["fingerprint"] == Plan.read(run.plan).fingerprint
    assert found["git"] == {"commit": "abc"}
    assert len(found["config"]["words"]) == 10_000
    assert found["versions"] == {"python": ["3.11"]}
    assert [(one["number"], one["shards"]) for one in found["submissions"]] == [(1, 3)]


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=5))
    boundaries = [sum(sizes[:n]) for n in range(len(sizes) + 1)]
    rows = boundaries[-1]
    return {
        "boundaries": boundaries,
        "batch_size": draw(st.integers(1, 9)),
        "failed": draw(st.sets(st.integers(0, rows - 1))),
        "seed": draw(st.integers(0, 1000)),
        "missing_share": draw(st.sampled_from([0, 0, 0.5])),
    }


def build_drawn(path: Path, drawn: dict[str, Any]) -> tuple[RunDir, set[int], set[int]]:
    """A run with its batches written in any order, some not at all; the rows that are ok, and those missing."""
    run = build_plan(path, drawn["boundaries"], batch_size=drawn["batch_size"])
    order = random.Random(drawn["seed"])
    missing: set[int] = set()
    for shard in Plan.read(run.plan).shards():
        stops = batches_of(Plan.read(run.plan), shard)
        batches = list(stops)
        order.shuffle(batches)
        left_out = [batch for batch in batches if order.random() < drawn["missing_share"]]
        written = [batch for batch in batches if batch not in left_out]
        write_shard(run, shard.index, failed=drawn["failed"], batches=written, done=not left_out)
        for batch in left_out:
            missing.update(range(batch, stops[batch]))
    return run, set(range(drawn["boundaries"][-1])) - missing - drawn["failed"], missing


@given(runs())
@settings(max_examples=examples(60))
def test_any_run_gathers_to_what_was_computed(drawn: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, ok, missing = build_drawn(Path(folder) / "run", drawn)
        rows = drawn["boundaries"][-1]

        report = gather(run, allow_missing=True)

        assert (report.ok, report.missing, report.complete) == (len(ok), len(missing), not missing)
        with h5py.File(run.result) as file:
            status = file["status"][()]
            assert set(np.flatnonzero(status == 0)) == missing
            assert set(np.flatnonzero(status == 1)) == ok
            assert bool(file.attrs["complete"]) == (not missing)
            names = set(file)
        if ok:
            check_outputs(run.result, rows, ok)
        else:
            assert names == {"id", "status", "errors", "summary"}


@given(runs(), st.integers(1, 4096))
@settings(max_examples=examples(20))
def test_the_bytes_of_the_result_do_not_depend_on_the_size_of_the_blocks(drawn: dict[str, Any], block: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        run, _, _ = build_drawn(Path(folder) / "run", drawn)
        one, other = Path(folder) / "one.h5", Path(folder) / "other.h5"
        patch.setattr("jobs.gather.gather.time.time", lambda: 0.0)
        gather(run, output=one, allow_missing=True)
        patch.setattr("jobs.gather.windows.BLOCK", block)
        gather(run, output=other, allow_missing=True)

        assert one.read_bytes() == other.read_bytes()


def test_many_commits_gather_the_same_when_journals_are_read_twice(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEPT_COMMITS > 9
    monkeypatch.setattr("jobs.gather.committed.KEPT_COMMITS", 0)

    gather(run)

    check_outputs(run.result, 64, set(range(64)) - {3, 16, 17, 18, 19, 22})


def test_commits_that_come_during_the_gather_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.gather.committed.KEPT_COMMITS", 0)
    run = build_plan(tmp_path / "run", (0, 16, 48))
    write_shard(run, 0)
    write_shard(run, 1, batches=[16], done=False)

    def come(done: int, total: int) -> None:
        if done == 16:
            write_shard(run, 1, batches=[24, 32], done=False)

    report = gather(run, allow_missing=True, progress=come)

    assert report.missing == 24
    check_outputs(run.result, 48, set(range(24)))


def test_progress_counts_rows_up_to_all(run: RunDir) -> None:
    seen: list[tuple[int, int]] = []
    gather(run, progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (64, 64)
    assert seen == sorted(seen)
    seen.clear()
    made = run.result.stat()
    gather(run, progress=lambda done, total: seen.append((done, total)), keep=True)

    assert seen[-1] == (64, 64)
    assert run.result.stat() == made, "it is compared, and stays"


def test_a_run_whose_samples_all_failed_has_a_result_without_outputs(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 5, 12), failed=range(12))

    report = gather(run)

    assert (report.failed, report.complete) == (12, True)
    with h5py.File(run.result) as file:
        assert set(file) == {"id", "status", "errors", "summary"}


def test_a_run_whose_samples_all_failed_has_the_outputs_that_it_has_agreed_on(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16))
    with AttemptWriter(run) as stored:
        stored.commit(0, 8)  # and no beat
    with AttemptWriter(run) as writer:
        writer.commit_all(Spans([(0, 16)]), bad=range(16))
        writer.beat()

    report = gather(run)

    assert (report.failed, report.complete) == (16, True)
    check_outputs(run.result, 16, set())


def test_messages_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 8))
    writer = AttemptWriter(run)
    commit = writer.commit(0, 8, bad=[3])
    writer.close()
    with AttemptWriter(run, processes=0) as again:
        assert writer.layout is not None
        again.lay_out(writer.layout)
        again.journal.append(DataFile(0, run.data(writer.name, 0).name))
        again.record(commit._replace(failed=(FailedSample(3, SampleFailureKind.LOAD, "no file \udcff.jpg"),)))
        again.beat()

    gather(run)

    with h5py.File(run.result) as file:
        assert read_rows(file["errors/message"]) == ["no file \\udcff.jpg"]


def test_the_result_goes_where_it_is_wanted(run: RunDir, tmp_path: Path) -> None:
    output = tmp_path / "results" / "of today" / "vectors.v2.h5"

    report = gather(run, output=output)

    assert report.path == output
    check_outputs(output, 64, set(range(64)) - {3, 16, 17, 18, 19, 22})
    assert [path.name for path in output.parent.iterdir()] == ["vectors.v2.h5"]
    assert not run.result.exists()


def test_gathering_again_replaces_the_result(run: RunDir) -> None:
    run.result.write_bytes(b"old")

    gather(run)

    check_outputs(run.result, 64, set(range(64)) - {3, 16, 17, 18, 19, 22})


# --- not complete


def test_a_shard_that_is_not_done_is_incomplete_and_names_what_to_do(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16, 32, 48, 64, 80))
    write_shard(run, 0)
    write_shard(run, 2, batches=[32], done=False)
    write_shard(run, 4)

    with pytest.raises(IncompleteError) as error:
        gather(run)

    assert "3 of 5 shards are not done (1-3), 40 of 80 samples have no result yet" in str(error.value)
    assert f"launcher rerun {run.path}" in str(error.value)
    assert "--allow-missing" in str(error.value)
    assert not list(run.path.glob("result*"))


def test_a_shard_of_which_too_many_samples_failed_is_not_done_even_with_all_rows(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16, 32), failed=range(9), node=NodeSettings(max_failed_samples=8))

    with pytest.raises(
        IncompleteError, match=r"in 1 of 2 shards \(0\) more samples failed than .* allows: `launcher errors"
    ):
        gather(run)
    report = gather(run, allow_missing=True)

    assert (report.missing, report.complete) == (0, False)
    check_outputs(run.result, 32, set(range(9, 32)))


def test_the_newest_submission_that_had_a_shard_says_how_many_samples_may_fail(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16, 32), failed=[0, 1, 16, 17], node=NodeSettings(max_failed_samples=1))
    submit(run, 2, rows=Spans([(0, 16)]), node=NodeSettings(max_failed_samples=2))

    with pytest.raises(IncompleteError, match=r"in 1 of 2 shards \(1\) more samples failed"):
        gather(run)


def test_what_no_beat_covers_is_missing(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 32))
    with AttemptWriter(run) as writer:
        writer.commit_all(Spans([(0, 32)]))
        writer.beat(Spans([(0, 8), (16, 24)]))

    with pytest.raises(IncompleteError, match=r"1 of 1 shards are not done .* 16 of 32 samples have no result yet"):
        gather(run)
    report = gather(run, allow_missing=True)

    assert (report.missing, report.damaged) == (16, ())
    check_outputs(run.result, 32, {*range(8), *range(16, 24)})


def test_a_deleted_attempt_is_not_done(run: RunDir) -> None:
    run.journal(owner_of(run, 20)).unlink()

    with pytest.raises(IncompleteError, match=r"1 of 3 shards are not done \(1\)"):
        gather(run)
    report = gather(run, allow_missing=True)

    assert report.missing == 30
    check_outputs(run.result, 64, {*range(20), *range(50, 64)} - {3, 16, 17, 18, 19})


def test_a_complete_result_is_not_replaced_by_a_lesser_one(run: RunDir) -> None:
    gather(run)
    before = run.result.read_bytes()
    for path in run.attempts.iterdir():
        path.unlink()

    with pytest.raises(IncompleteError, match=r"3 of 3 shards are not done .* stays as it is \(.*result.h5\)"):
        gather(run, allow_missing=True)

    assert run.result.read_bytes() == before
    run.result.rename(run.path / "all.h5")
    assert gather(run, allow_missing=True).missing == 64
    assert gather(run, allow_missing=True).missing == 64  # what is not complete may be replaced


def test_a_complete_result_is_not_replaced_by_one_without_what_is_damaged(run: RunDir) -> None:
    gather(run)
    before = run.result.read_bytes()
    damage(run, 50, "vector", 3)

    with pytest.raises(DamageError, match=r"`launcher rerun .* --shards 2` computes them again; .* stays as it is"):
        gather(run, allow_missing=True)

    assert run.result.read_bytes() == before
    assert not half_made(run)


def test_an_existing_result_survives_a_gather_that_fails(run: RunDir) -> None:
    gather(run)
    before = run.result.read_bytes()
    damage(run, 50, "vector", 3)
    damage(run, 50, "text")

    with pytest.raises(DamageError):
        gather(run)

    assert run.result.read_bytes() == before
    assert not half_made(run)


# --- damage


def positions(run: RunDir, row: int) -> Iterator[tuple[Path, int]]:
    """Some bytes of each output of a batch, and of its values."""
    for name in everything(np.arange(1)):
        for path, block in find_blocks(run, row, name):
            for position in (0, block.size // 2, block.size - 1):
                yield path, block.offset + position


def test_any_damaged_byte_is_refused_and_the_shard_is_named(run: RunDir) -> None:
    for path, position in itertools.chain(positions(run, 20), positions(run, 44)):
        flip_byte(path, position)

        with pytest.raises(DamageError, match="shard 1, rows") as error:
            gather(run)

        assert f"`launcher rerun {run.path} --shards 1`" in str(error.value)
        assert not run.result.exists()
        flip_byte(path, position)
    gather(run)


def test_all_damage_is_listed_at_once(run: RunDir) -> None:
    damage(run, 0, "tokens")
    damage(run, 50, "text")

    with pytest.raises(DamageError) as error:
        gather(run)

    assert "2 batches are not on disk as written, in shards 0,2" in str(error.value)
    assert "shard 0, rows 0-7: tokens" in str(error.value)
    assert "shard 2, rows 50-57: text" in str(error.value)
    assert "--shards 0,2" in str(error.value)


def test_a_long_list_of_damage_is_cut(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 100), vectors, batch_size=2)
    os.truncate(run.data(owner_of(run, 0), 0), 0)

    with pytest.raises(DamageError, match=r"50 batches .*\n(.*\n){10}  and 40 more\n"):
        gather(run)


def test_damaged_batches_are_left_out_when_that_is_allowed(run: RunDir) -> None:
    damage(run, 0, "tokens")  # rows 0-7
    damage(run, 63, "text", -1)  # rows 58-63

    report = gather(run, allow_missing=True)

    assert (report.missing, report.complete) == (14, False)
    assert [str(damage) for damage in report.damaged] == ["shard 0, rows 0-7: tokens", "shard 2, rows 58-63: text"]
    check_outputs(run.result, 64, set(range(8, 58)) - {16, 17, 18, 19, 22})


@pytest.mark.parametrize("name", ["vector", "text", "blob"])
def test_a_truncated_file_is_refused(run: RunDir, name: str) -> None:
    path, block = find_blocks(run, 36, name)[-1]
    os.truncate(path, block.offset)

    with pytest.raises(DamageError, match="in shards 1:"):
        gather(run)
    report = gather(run, allow_missing=True)

    assert [damage.start for damage in report.damaged] == [36, 44]
    assert report.missing == 14


def test_a_deleted_data_file_is_damage(run: RunDir) -> None:
    run.data(owner_of(run, 20), 0).unlink()

    with pytest.raises(DamageError, match="shard 1, rows 20-27: data file"):
        gather(run)
    report = gather(run, allow_missing=True)

    assert report.missing == 30
    assert {damage.what for damage in report.damaged} == {("data file",)}
    check_outputs(run.result, 64, {*range(20), *range(50, 64)} - {3, 16, 17, 18, 19})


def test_a_damaged_commit_of_done_rows_is_damage(run: RunDir) -> None:
    damage_commit(run, 28)

    with pytest.raises(DamageError, match="shard 1, rows 28-35: journal"):
        gather(run)
    report = gather(run, allow_missing=True)

    assert report.missing == 8
    check_outputs(run.result, 64, set(range(64)) - {3, 16, 17, 18, 19, 22, *range(28, 36)})


@pytest.mark.parametrize("gone", ["layout", "commits"])
def test_done_rows_that_their_journal_does_not_describe_are_damage(run: RunDir, gone: str) -> None:
    journal = run.journal(owner_of(run, 20))
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join(line for line in lines if f'"type":"{gone}"'.encode() not in line))

    with pytest.raises(DamageError, match="shard 1, rows 20-49: journal"):
        gather(run)


def test_commits_that_are_no_batches_of_the_plan_do_not_count(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16, 32))
    with AttemptWriter(run, 1, 0) as odd:
        one = odd.commit(4, 12)
        odd.record(one._replace(start=8, stop=16, failed=(FailedSample(3, SampleFailureKind.LOAD, ""),)))
        odd.record(
            Commit(0, 8), one._replace(start=16, stop=24, blocks=one.blocks[1:]), one._replace(start=24, stop=40)
        )
        odd.beat(Spans([(0, 32)]))

    with pytest.raises(DamageError) as error:
        gather(run)
    assert "  shard 0, rows 0-15: journal\n  shard 1, rows 16-31: journal\n" in str(error.value)

    write_shard(run, 0)
    write_shard(run, 1)
    gather(run)
    check_outputs(run.result, 32, set(range(32)))


# --- several attempts


def plus(number: int) -> Compute:
    """Like ``vectors``, with other values, and a text whose length differs too."""
    return lambda rows: {
        "vector": vectors(rows)["vector"] + number,
        "text": [f"{number} " * (number + int(row) % 3) for row in rows],
    }


def check_plus(path: Path, numbers: Sequence[int | None]) -> None:
    """Whether each row is that of ``plus`` of the number; None: it is missing."""
    with h5py.File(path) as file:
        vector, text = read_rows(file["vector"]), read_rows(file["text"])
        assert file["status"][()].tolist() == [int(number is not None) for number in numbers]
    for row, number in enumerate(numbers):
        if number is not None:
            expected = plus(number)(np.array([row]))
            np.testing.assert_array_equal(vector[row], expected["vector"][0])
            assert text[row] == expected["text"][0]


def write_attempt(
    run: RunDir, number: int, starts: Sequence[int], *, submission: int = 1, name: str | None = None
) -> str:
    """An attempt that has done the batches that begin there, with the values of ``plus``."""
    stops = dict(Plan.read(run.plan).table.batches(Spans([(0, Plan.read(run.plan).rows)])))
    with AttemptWriter(run, submission, name=name) as writer:
        for start in starts:
            writer.commit(start, stops[start], plus(number))
        writer.beat()
    return writer.name


def test_of_rows_done_twice_the_newest_submission_counts_and_then_the_name(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 12, 32))
    write_attempt(run, 1, [0, 8, 12, 20, 28], name="0001-00001-aaaaaaaa")
    write_attempt(run, 2, [8, 12], name="0001-00000-ffffffff")
    write_attempt(run, 3, [12, 28], submission=2)

    assert gather(run).complete
    check_plus(run.result, [1] * 8 + [2] * 4 + [3] * 8 + [1] * 8 + [3] * 4)


@pytest.mark.parametrize("output", ["vector", "text"])
def test_a_damaged_batch_is_taken_from_the_next_attempt_that_has_it(tmp_path: Path, output: str) -> None:
    run = build_plan(tmp_path / "run", (0, 12, 32))
    first = write_attempt(run, 1, [0, 8, 12, 20, 28], submission=3)
    second = write_attempt(run, 2, [8, 12, 28], submission=2)
    write_attempt(run, 3, [12], submission=1)
    for row in (8, 12, 28):
        damage(run, row, output, attempt=first)
    damage(run, 12, output, attempt=second)

    report = gather(run)

    assert (report.complete, report.damaged) == (True, ())
    check_plus(run.result, [1] * 8 + [2] * 4 + [3] * 8 + [1] * 8 + [2] * 4)


def test_only_rows_that_no_attempt_has_intact_are_damage(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 12, 32))
    first = write_attempt(run, 1, [0, 8, 12, 20, 28], submission=3)
    second = write_attempt(run, 2, [8, 12], submission=2)
    damage(run, 8, "vector", attempt=first)
    damage(run, 12, "vector", attempt=first)
    damage(run, 12, "text", attempt=second)

    with pytest.raises(DamageError, match=r"1 batch is not .* in shards 1:\n  shard 1, rows 12-19: vector\n"):
        gather(run)
    report = gather(run, allow_missing=True)

    assert report.missing == 8
    check_plus(run.result, [*[1] * 8, *[2] * 4, *[None] * 8, *[1] * 12])


def test_a_damaged_line_in_the_middle_of_a_journal_costs_nothing_where_another_attempt_has_the_rows(
    tmp_path: Path,
) -> None:
    run = build_plan(tmp_path / "run", (0, 12, 32))
    first = write_attempt(run, 1, [0, 8, 12, 20, 28], submission=3)
    write_attempt(run, 2, [12], submission=2)
    damage_commit(run, 12, first)

    assert gather(run).complete
    check_plus(run.result, [1] * 12 + [2] * 8 + [1] * 12)


@pytest.mark.parametrize("read_ahead", [1, 3, 4096])
@pytest.mark.parametrize("seed", range(5))
def test_commits_come_in_any_order_and_over_several_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_ahead: int, seed: int
) -> None:
    monkeypatch.setattr("jobs.gather.commit_stream.READ_AHEAD", read_ahead)
    monkeypatch.setattr("jobs.gather.committed.KEPT_COMMITS", 0)
    run, order = build_plan(tmp_path / "run", (0, 60, 100), batch_size=4), random.Random(seed)
    with AttemptWriter(run, 1, 0, processes=3) as one, AttemptWriter(run, 1, 1, processes=3) as other:
        claims = [(one, 60, 100), (other, 0, 60), (one, 20, 60), (other, 80, 100)]
        for writer, start, stop in claims:
            writer.hold(start, stop)
            batches = list(writer.plan.table.batches(Spans([(start, stop)])))
            order.shuffle(batches)
            for n, batch in enumerate(batches):
                writer.commit(*batch, everything, process=n % 3)
        for writer in (one, other):
            writer.beat()

    gather(run)

    check_outputs(run.result, 100, set(range(100)))


def test_journals_of_attempts_whose_rows_are_read_do_not_stay_open(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", range(0, 328, 8))
    for shard in range(40):
        writer = AttemptWriter(run, worker=shard)
        writer.hold(8 * shard, 8 * shard + 8, shard)
        writer.commit_all(Spans([(8 * shard, 8 * shard + 8)]), vectors)
        writer.end()
    committed = Committed(read_sources(run), Plan.read(run.plan).table, Spans([(0, 320)]))
    before = len(os.listdir("/proc/self/fd"))

    found = [len(os.listdir("/proc/self/fd")) for _ in committed.batches()]

    assert len(found) == 40
    assert max(found) <= before + 4


def test_shards_with_other_outputs_are_refused_and_both_are_named(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 8, 16, 24))
    write_shard(run, 0, vectors)
    write_shard(run, 1, vectors)
    write_shard(run, 2, lambda rows: {"vector": np.zeros((len(rows), 3), np.float32)})

    with pytest.raises(OutputError) as error:
        gather(run)

    assert "shards 0 and 2" in str(error.value)
    assert r"vector <f4 [n, 4] in the one, vector <f4 [n, 3] in the other" in str(error.value)


def test_a_manifest_with_other_rows_than_planned_is_refused(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 8), vectors, ids=list("abcdefgh"))
    other = build_run(tmp_path / "other", (0, 9), vectors, ids=list("abcdefghi"))
    run.manifest.write_bytes(other.manifest.read_bytes())

    with pytest.raises(DamageError, match="has 9 rows, and the plan 8"):
        gather(run)


def test_a_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        gather(RunDir(tmp_path))


# --- crashes and the machine

GATHER = """
import sys
from pathlib import Path
from jobs.gather.gather import gather
from jobs.gather.sources import read_sources
from jobs.storage.rundir import RunDir
gather(RunDir(Path(sys.argv[1])), progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_gather_leaves_no_result_and_the_next_one_works(tmp_path: Path, seed: int) -> None:
    run = build_run(tmp_path / "run", range(0, 801, 8))
    command = [sys.executable, "-c", GATHER, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(random.Random(seed).randint(1, 90)):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)

    if run.result.exists():  # it was faster than the signal
        check_outputs(run.result, 800, set(range(800)))
    else:
        for part in half_made(run):
            with h5py.File(part) as file:
                assert not file.attrs["complete"]
    gather(run)
    check_outputs(run.result, 800, set(range(800)))
    assert not half_made(run)


def test_two_gathers_at_a_time_are_refused(run: RunDir) -> None:
    refused: list[str] = []

    def second(done: int, total: int) -> None:
        with pytest.raises(BusyError, match=r"result\.h5: another process is gathering") as error:
            gather(run)
        refused.append(str(error.value))

    gather(run, progress=second)

    assert refused
    check_outputs(run.result, 64, set(range(64)) - {3, 16, 17, 18, 19, 22})


FILE_SIZE_LIMIT = """
import resource, sys
from pathlib import Path
from jobs.errors import RunError
from jobs.gather.gather import gather
from jobs.gather.sources import read_sources
from jobs.storage.rundir import RunDir
sys.dont_write_bytecode = True  # it would be cut off
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    gather(RunDir(Path(sys.argv[1])))
except RunError as error:
    print(error)
"""


def test_a_file_system_that_refuses_more_bytes_is_one_clear_error(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 4000), vectors, batch_size=500)

    done = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_LIMIT, str(run.path)], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert f"{run.result}: gather stopped: " in done.stdout
    assert not list(run.path.glob("result*"))


def test_too_little_room_is_known_before_copying(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 100, 2, 2, 0, 0, 0, 0, 255))
    monkeypatch.setattr("jobs.gather.gathering.os.statvfs", lambda path: full)
    seen: list[int] = []

    with pytest.raises(RunError, match=r"the result needs .* GB and .* GB are free: make room, or set output\.path"):
        gather(run, progress=lambda done, total: seen.append(done))

    assert not seen
    assert not list(run.path.glob("result*"))


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    def compute(rows: np.ndarray) -> dict[str, Any]:
        return {"wide": np.ones((len(rows), 4096), np.float32), "long": [np.ones(1000, np.float64)] * len(rows)}

    run = build_run(tmp_path / "run", range(0, 2049, 512), compute, batch_size=32)
    tracemalloc.start()
    try:
        report = gather(run)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert report.bytes > 45 << 20
    assert peak < 6 << 20


MEMORY = """
import re, sys
from pathlib import Path
import h5py, pyarrow
from jobs.gather.gather import gather
from jobs.gather.sources import read_sources
from jobs.storage.rundir import RunDir
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
gather(RunDir(Path(sys.argv[2])))
before = peak()
gather(RunDir(Path(sys.argv[1])))
print(peak() - before)
"""


def write_single_rows(run: RunDir) -> None:
    """Batches of one row, by two attempts, each of every second stretch of 1,000; one in a hundred samples failed."""
    rows = Plan.read(run.plan).rows
    values = np.arange(rows, dtype=np.int64)
    for half in range(2):
        with AttemptWriter(run, 1, half) as writer:
            writer.lay_out(Layout((Output("y", False, "<i8", ()),)))
            run.data(writer.name, 0).write_bytes(values.tobytes())
            for first in range(1000 * half, rows, 2000):
                batches = range(first, min(first + 1000, rows))
                failed = FailedSample(0, SampleFailureKind.LOAD, "no such file: " + "x" * 100)
                writer.record(
                    *(
                        Commit(row, row + 1, (), (replace(failed, row=row),))
                        if row % 100 == 0
                        else Commit(row, row + 1, (Block(0, 8 * row, 8, digest(values[row : row + 1].data)),))
                        for row in batches
                    )
                )
            writer.beat()


def test_memory_does_not_grow_with_the_number_of_batches(tmp_path: Path) -> None:
    few, many = (
        build_plan(tmp_path / str(rows), range(0, rows + 1, 50), batch_size=1, tasks=2) for rows in (2000, 100_000)
    )
    for run in (few, many):
        write_single_rows(run)

    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(many.path), str(few.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert int(done.stdout) < 40 << 20  # the commits alone would be over 75 MB
    with h5py.File(many.result) as file:
        assert np.count_nonzero(file["status"][()] == 2) == 1000
        ok = file["status"][()] == 1
        assert (file["y"][()] == np.arange(100_000))[ok].all()


# --- reductions


class Mean(Job):
    """Means of the vectors and of the lengths of the texts, and the rows in the order that they came in."""

    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        state = state or {"sum": np.zeros(4), "rows": [], "text": []}
        state["sum"] += block["vector"].sum(axis=0, dtype=np.float64)
        state["rows"] += block["index"].tolist()
        state["text"] += block["text"]
        assert all(isinstance(tokens, np.ndarray) for tokens in block["tokens"])
        assert all(isinstance(blob, bytes) for blob in block["blob"])
        assert {len(values) for values in block.values()} == {len(block["index"])}
        return state

    def finish(self, state: Any) -> dict[str, Any]:
        count = len(state["rows"])
        words = np.array(["a", "zwölf"])
        return {
            "mean": state["sum"] / count, "count": count, "rows": state["rows"], "text": state["text"],
            "words": words, "title": "means — ☠", "share": 0.5,
        }  # fmt: skip


class Count(Job):
    """Without finish: the state is the summary."""

    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        return {"blocks": (state or {"blocks": 0})["blocks"] + 1}


class Broken(Job):
    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        raise ZeroDivisionError("no such thing")


class Leaves(Job):
    """Takes gather for a script of its own."""

    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        sys.exit(0)


class Odd(Job):
    """Returns ``what`` as its summary."""

    values: ClassVar[dict[str, Any]] = {
        "list": [1],
        "slash": {"a/b": 1},
        "object": {"a": object()},
        "nul": {"a": "x\0"},
        "name": {"a\0b": 1},
        "half": {"\ud800": 1},
        "rounded": {"a": [2**63 + 1, -1]},
    }

    def __init__(self, what: str) -> None:
        self._what = what

    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        return state

    def finish(self, state: Any) -> dict[str, Any]:
        return self.values[self._what]  # type: ignore[no-any-return]


def summary_of(run: RunDir) -> dict[str, Any]:
    with h5py.File(run.result) as file:
        return {
            name: item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
            for name, item in file["summary"].items()
        }


@pytest.mark.parametrize("boundaries", [(0, 64), (0, 20, 50, 64)], ids=["one shard", "three shards"])
def test_reduce_sees_the_ok_rows_in_manifest_order(tmp_path: Path, boundaries: tuple[int, ...]) -> None:
    failed = [3, 16, 17, 18, 19, 22]
    job = JobSpec("tests.jobs.gather.test_gather:Mean")
    run = build_plan(tmp_path / "run", boundaries, job=job)
    for shard in Plan.read(run.plan).shards():
        write_shard(run, shard.index, failed=failed, batches=list(batches_of(Plan.read(run.plan), shard))[::-1])

    gather(run)

    found, ok = summary_of(run), [row for row in range(64) if row not in failed]
    expected = everything(np.array(ok))
    assert found["rows"].tolist() == ok
    assert found["count"] == 58
    assert list(found["text"]) == expected["text"]
    np.testing.assert_allclose(found["mean"], expected["vector"].mean(axis=0))
    assert list(found["words"]) == ["a", "zwölf"]
    assert found["title"] == "means — ☠"
    assert found["share"] == 0.5


def test_blocks_are_the_batches_of_the_plan_that_have_ok_samples(tmp_path: Path) -> None:
    run = build_run(
        tmp_path / "run", (0, 20, 50, 64), failed=range(8, 16), job=JobSpec("tests.jobs.gather.test_gather:Count")
    )

    gather(run)

    assert summary_of(run) == {"blocks": 3 - 1 + 4 + 2}


def test_without_an_ok_sample_there_is_no_summary(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 8), failed=range(8), job=JobSpec("tests.jobs.gather.test_gather:Broken"))

    gather(run)

    assert summary_of(run) == {}


def test_a_reduce_that_raises_is_one_clear_error_with_its_line(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 8), vectors, job=JobSpec("tests.jobs.gather.test_gather:Broken"))

    with pytest.raises(RunError, match=r"test_gather\.py:\d+: Broken\.reduce raised ZeroDivisionError: no such thing"):
        gather(run)

    assert not list(run.path.glob("result*"))


def test_a_reduce_that_leaves_does_not_end_gather_without_a_word(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 8), vectors, job=JobSpec("tests.jobs.gather.test_gather:Leaves"))

    with pytest.raises(RunError, match=r"Leaves\.reduce raised SystemExit: 0; nothing is lost, gather again"):
        gather(run)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("list", "Odd.finish returned list; valid: a dict"),
        ("slash", "summary name 'a/b' is not valid"),
        ("object", "'summary/a' has dtype object"),
        ("nul", "summary/a: .* cannot store"),
        ("name", r"summary name 'a\\x00b' is not valid"),
        ("half", r"summary name '\\ud800' is not valid"),
        ("rounded", "'summary/a': 9223372036854775809 would be rounded"),
    ],
)
def test_a_summary_that_cannot_be_stored_is_refused(tmp_path: Path, what: str, message: str) -> None:
    run = build_run(tmp_path / "run", (0, 8), vectors, job=JobSpec("tests.jobs.gather.test_gather:Odd", {"what": what}))

    with pytest.raises(OutputError, match=message):
        gather(run)

    assert not list(run.path.glob("result*"))


# --- very many


def test_very_many_failed_samples_are_gathered_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.gather.committed.KEPT_COMMITS", 2000)
    run = build_plan(tmp_path / "run", (0, 20_000), batch_size=100, tasks=1)
    with AttemptWriter(run) as writer:
        writer.commit(0, 100, vectors)
        for start in range(100, 20_000, 100):
            rows = range(start, start + 100)
            failed = (FailedSample(row, SampleFailureKind.LOAD, f"{row}: {'x' * 400}") for row in rows)
            writer.record(Commit(start, start + 100, failed=tuple(failed)))
            writer.commits[start] = Commit(start, start + 100)  # its messages need not be kept here
        writer.beat(failed=19_900, ok=100)
    tracemalloc.start()
    report = gather(run)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (report.ok, report.failed, report.complete) == (100, 19_900, True)
    assert most < 12 << 20


def test_an_output_may_have_a_long_name(tmp_path: Path) -> None:
    name = "Y" * 250
    run = build_run(tmp_path / "run", (0, 16), lambda rows: {name: [np.arange(row % 3) for row in rows]})
    gather(run)
    with h5py.File(run.result) as file:
        assert [len(values) for values in read_rows(file[name])] == [row % 3 for row in range(16)]
