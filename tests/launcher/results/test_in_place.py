"""A run read where its attempts have stored it is what gather makes of it."""

import pickle
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import DamageError, IncompleteError, InputError, RunError
from jobs.gather.gather import gather
from jobs.storage.records import JobSpec, Part
from jobs.storage.rundir import RunDir
from launcher import results
from launcher.results import FAILED, MISSING, OK, Results
from tests.support.builders import (
    build_books,
    build_plan,
    build_run,
    change_plan,
    damage,
    damage_commit,
    everything,
    find_blocks,
    submit,
    vectors,
    write_shard,
)

ROWS = 64
BAD = [3, 16, 17]


def assert_same(one: Results, other: Results) -> None:
    """All that two opened results have is the same, read whole, by row, by slice and in blocks."""
    assert (one.outputs, len(one), one.complete) == (other.outputs, len(other), other.complete)
    for name in one:
        assert_equal(one[name], other[name])
    for mine, theirs in zip(one.blocks(7), other.blocks(7), strict=True):
        assert_alike(mine, theirs)
    for name in one.outputs:
        assert one.output(name) == other.output(name)
        for rows in (slice(5, 40), slice(None, None, -3), slice(9, 9), [row for row in (1, 1, 0) if row < len(one)]):
            if one.output(name).ragged:
                assert_equal(one[name][rows], other[name][rows])
            elif not isinstance(rows, list) and (rows.step or 1) > 0:  # h5py's do not go backwards
                assert_equal(one.dataset(name)[rows], other.dataset(name)[rows])
        if one.output(name).ragged:
            assert_equal(one[name].offsets, other[name].offsets)
            assert_equal(one[name].values, other[name].values)
    assert one.errors.equals(other.errors)


def assert_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert list(one) == list(other)
    for name, column in one.items():
        assert_equal(column, other[name])


def assert_equal(one: Any, other: Any) -> None:
    assert len(one) == len(other)
    if isinstance(one, np.ndarray) and one.dtype != object:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert all(type(a) is type(b) and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return build_books(tmp_path_factory.mktemp("runs"), ROWS, BAD)


@pytest.fixture
def found(run: RunDir) -> Iterator[Results]:
    with results.open(run.path) as found:
        yield found


def test_a_run_without_a_result_is_what_its_result_would_be(run: RunDir, found: Results) -> None:
    assert not run.result.exists()
    with results.open(run.path.parent / "books.h5") as gathered:
        assert_same(found, gathered)
        assert found.provenance["fingerprint"] == gathered.provenance["fingerprint"]
        assert found.to_pandas(["id", "label"]).equals(gathered.to_pandas(["id", "label"]))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_in_place_is_what_gather_makes(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    boundaries = tuple(np.cumsum([0, *sizes]).tolist())
    rows = boundaries[-1]
    with tempfile.TemporaryDirectory() as folder:
        ids = data.draw(st.sampled_from([None, [f"r{n}" for n in range(rows)]]))
        run = build_plan(Path(folder) / "run", boundaries, ids=ids, batch_size=data.draw(st.integers(1, 9)))
        for number in (1, 2):
            if number > 1:
                submit(run, number)
            for shard in data.draw(st.sets(st.integers(0, len(sizes) - 1))):
                bad = data.draw(st.sets(st.integers(0, rows - 1)))
                write_shard(run, shard, failed=bad, submission=number)
        gather(run, allow_missing=True)
        options: dict[str, Any] = {"allow_incomplete": True}
        with results.open(run.path, in_place=True, **options) as stored, results.open(run.path, **options) as gathered:
            assert_same(stored, gathered)


def test_single_rows_are_read(found: Results) -> None:
    expected = everything(np.arange(ROWS))
    for row in (0, 19, 20, 63, -1):
        np.testing.assert_array_equal(found.dataset("vector")[row], expected["vector"][row])
        assert found["text"][row] == expected["text"][row]
    assert found.dataset("vector")[4, 1] == 4.25
    mask = np.arange(ROWS) == 60
    keys: list[Any] = [[5, 60], np.array([5, 60]), np.array([5]), mask, mask.tolist(), (), ..., (..., 1), (mask, 2)]
    pairs: list[Any] = [([5, 60], [0, 2]), (mask, [1]), ([5, 60], slice(1, 3)), (slice(5, 7), [0, 2]), (5, [0, 2])]
    for key in (*keys, *pairs, ([5, 6], [[0], [1]])):
        wanted = expected["vector"].copy()
        wanted[BAD] = np.nan
        np.testing.assert_array_equal(found.dataset("vector")[key], wanted[key])
    assert np.isnan(found.dataset("vector")[3]).all()
    assert np.asarray(found.dataset("label"))[5] == 5
    with pytest.raises(IndexError):
        found.dataset("vector")[ROWS]


def test_an_incomplete_run_is_refused_unless_it_is_wanted(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16))
    write_shard(run, 0, batches=[8], done=False)

    with pytest.raises(IncompleteError, match=r"8 of 16 samples have no result yet.*allow_incomplete=True"):
        results.open(run.path)
    with results.open(run.path, allow_incomplete=True) as found:
        assert not found.complete
        assert found.status.tolist() == [MISSING] * 8 + [OK] * 8
        assert found["text"][:9] == [""] * 8 + [everything(np.arange(16))["text"][8]]
        assert np.isnan(found["vector"][:8]).all()


def test_what_no_attempt_has_any_more_is_told_with_what_to_do(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16, 32))
    damage_commit(run, 20)

    with pytest.raises(
        IncompleteError,
        match=r"1 batch is not on disk as written, in shards 1: .*rerun .*/run --shards 1`",
    ):
        results.open(run.path)


def test_a_process_may_go_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_run(tmp_path / "run", (0, 16))
    monkeypatch.chdir(tmp_path)
    with results.open("run") as found:
        monkeypatch.chdir("/")
        assert found.dataset("vector")[9][0] == 9
        assert found["text"][9] == everything(np.arange(16))["text"][9]
        assert len(pickle.loads(pickle.dumps(found))) == 16


def test_rows_done_again_count_as_of_the_newest_submission(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 8), vectors, failed=[2])
    submit(run, 2)
    write_shard(run, 0, vectors, submission=2)

    with results.open(run.path) as found:
        assert found.status.tolist() == [OK] * 8


def test_damage_is_told_when_it_is_touched(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16), failed=[1])
    damage(run, 9, "vector", 5)

    with results.open(run.path) as found:
        assert found.dataset("vector")[7][0] == 7
        assert len(found["text"][9]) == 0
        for _ in range(2):
            with pytest.raises(DamageError, match=r"shard 0, rows 8-15: vector: not on disk .*rerun .* --shards 0"):
                found.dataset("vector")[15]
        assert found.status.tolist().count(FAILED) == 1


def test_the_same_bytes_of_another_attempt_stand_in_for_damaged_ones(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16))
    submit(run, 2)
    write_shard(run, 0, submission=2)
    damage(run, 9, "text", 5)

    with results.open(run.path) as found:
        assert found["text"][:] == everything(np.arange(16))["text"]


def test_a_file_that_was_cut_after_it_was_checked_is_damage(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16))
    path, block = find_blocks(run, 15, "vector")[-1]

    with results.open(run.path) as found:
        found["vector"]
        with path.open("r+b") as file:
            file.truncate(block.offset)
        with pytest.raises(DamageError, match="rows 8-15: vector"):
            found.dataset("vector")[15]


def test_of_several_manifests_each_has_its_own_rows(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 12, 20, 30), failed=[2, 13, 25], batch_size=5)
    change_plan(run, parts=(Part("train", 0, 20), Part("test", 20, 30)))
    gather(run)
    for name in ("train", "test"):
        options: dict[str, Any] = {"manifest": name}
        with results.open(run.path, in_place=True, **options) as stored, results.open(run.path, **options) as gathered:
            assert_same(stored, gathered)


def test_a_run_in_place_can_be_pickled(found: Results) -> None:
    for one in (found, found["text"]):
        again = pickle.loads(pickle.dumps(one))
        assert len(again) == ROWS
    again = pickle.loads(pickle.dumps(found))
    assert_same(found, again)


def test_a_run_that_went_on_since_it_was_pickled_is_refused(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16))
    with results.open(run.path) as found:
        kept = pickle.dumps(found)
    submit(run, 2)
    write_shard(run, 0, submission=2)

    with pytest.raises(RunError, match="more was computed since it was opened"):
        pickle.loads(kept)


def test_a_fold_is_left_to_gather(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16), job=JobSpec("tests.launcher.test_results:Summary"))
    with results.open(run.path) as found, pytest.raises(RunError, match="launcher gather"):
        found.summary  # noqa: B018


def test_a_file_is_not_read_in_place(run: RunDir) -> None:
    with pytest.raises(InputError, match="give the run"):
        results.open(run.path.parent / "books.h5", in_place=True)
