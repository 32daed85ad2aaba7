"""A result in several files holds what it would hold in one, whatever its files' size; each is checked, and kept, by itself."""

import gc
import itertools
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jobs.errors import BusyError, DamageError, IncompleteError, InputError, RunError
from jobs.gather import volumes
from jobs.gather.gather import gather
from jobs.gather.result_errors import read_result_errors
from jobs.gather.result_index import give_names, read_index
from jobs.gather.verify import verify
from jobs.job import Job
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.seals import read_seal
from jobs.storage.spans import Spans
from jobs.storage.submission import ResultForm
from launcher import results
from launcher.results.hdf5_table import Hdf5Table
from tests.jobs.gather.test_gather import build_drawn, runs
from tests.jobs.storage.test_several_manifests import build_parts
from tests.support.builders import AttemptWriter, build_run, change_plan, damage, everything, flip_byte, submit
from tests.support.chaos import amount
from tests.support.crash_states import crash_states, restore
from tests.support.disk_calls import disk_calls
from tests.support.launcher_runs import ROOT, environment

BAD = [3, 16, 17, 18, 19, 22]
# Of the run below: two batches of up to eight samples in each file.
FORM = ResultForm(1800)


@pytest.fixture(autouse=True)
def _without_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are cut by their rows alone, so that small runs have many."""
    monkeypatch.setattr(volumes, "_HEAD", 0)
    monkeypatch.setattr(volumes, "_EACH", 0)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """64 samples in 3 shards, all done; 6 samples failed, one batch of them as a whole."""
    return build_run(tmp_path / "run", (0, 20, 50, 64), failed=BAD, ids=[f"böok {row}" for row in range(64)])


def columns(path: Path | RunDir) -> dict[str, Any]:
    """All that a result tells of its rows, as plain values; NaN equals NaN."""
    with results.open(path.path if isinstance(path, RunDir) else path, allow_incomplete=True) as found:
        rows: dict[str, Any] = {"complete": found.complete, "id": found.ids.tolist(), "status": found.status.tolist()}
        for name in found.outputs:
            column = found[name]
            parts = [column] if isinstance(column, np.ndarray) else [column.values, column.offsets]
            rows[name] = [str(found.output(name)), *(repr(part.tolist()) for part in parts)]
        return rows | {name: np.asarray(column).tolist() for name, column in found.table.errors().items()}


def files_of(run: RunDir) -> list[Path]:
    return [file.path for file in read_index(run.result)]


def value_in(path: Path) -> tuple[Path, int]:
    """A file, and where it has a value."""
    with h5py.File(path) as file:
        return path, file["vector"].id.get_offset() + 5


def results_of(run: RunDir) -> list[str]:
    """The names of all files of results, on their way or not."""
    return sorted(path.name for path in run.path.iterdir() if path.suffix == ".h5")


@given(runs(), st.integers(1, 3000), st.sampled_from(["", "gzip"]))
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_files_of_any_size_hold_what_one_holds(drawn: dict[str, Any], size: int, compression: str) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(volumes, "_HEAD", 0)
        patch.setattr(volumes, "_EACH", 0)
        run, _, missing = build_drawn(Path(folder) / "run", drawn)
        one = gather(run, output=Path(folder) / "one.h5", allow_missing=True)
        several = gather(run, form=ResultForm(size, compression), allow_missing=True)
        assert (several.ok, several.failed, several.missing) == (one.ok, one.failed, one.missing)
        assert columns(run) == columns(one.path)
        assert verify(run).ok
        assert several.bytes == sum(path.stat().st_size for path in {*files_of(run), run.result})
        assert len(results_of(run)) == (several.files + 1 if several.files > 1 else 1)
        assert bool(missing) == (not several.complete)


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_no_file_is_larger_than_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str) -> None:
    monkeypatch.undo()
    run = build_run(
        tmp_path / "run", (0, 3000, 6000), big, batch_size=100, ids=[f"sample {row}" for row in range(6000)]
    )
    report = gather(run, form=ResultForm(1 << 20, compression))
    sizes = [path.stat().st_size for path in files_of(run)]
    assert report.files == len(sizes) > 6
    assert max(sizes) <= 1 << 20
    assert compression or min(sizes[:-1]) > 0.7 * (1 << 20)


def big(rows: np.ndarray) -> dict[str, Any]:
    """Noise: what does not shrink."""
    noise = np.random.default_rng(int(rows[0])).integers(0, 1 << 32, (len(rows), 300), np.uint32)
    return {"vector": noise, "text": ["word " * (row % 40) for row in rows]}


def test_what_fits_into_one_file_is_one(run: RunDir) -> None:
    assert gather(run, form=ResultForm(1 << 30)).files == 1
    assert results_of(run) == ["result.h5"]
    assert not read_index(run.result)


def test_each_file_is_a_result_of_its_rows(run: RunDir) -> None:
    gather(run, form=FORM)
    file = read_index(run.result)[2]
    with results.open(run.path) as whole, results.open(file.path) as found:
        assert found.ids.tolist() == whole.ids[file.start : file.stop].tolist()
        np.testing.assert_array_equal(found["vector"], whole["vector"][file.start : file.stop])
        assert found["text"][:] == whole["text"][file.start : file.stop]
        assert found.provenance["fingerprint"] == whole.provenance["fingerprint"]
        assert found.provenance["volume"] == {"index": "result.h5", "rows": [file.start, file.stop]}


def test_plain_h5py_finds_rows_by_the_index(run: RunDir) -> None:
    gather(run, form=FORM)
    with h5py.File(run.result) as index:
        found = []
        for name, start, stop in index["files"]:
            with h5py.File(run.path / name.decode()) as file:
                assert len(file["vector"]) == stop - start
                found.append(file["vector"][()])
        assert index.attrs["complete"]
    with results.open(run.path) as whole:
        np.testing.assert_array_equal(np.concatenate(found), whole["vector"])


def test_an_index_is_no_result_of_nothing_to_readers_that_know_of_none(run: RunDir) -> None:
    gather(run, form=FORM)
    with pytest.raises(InputError, match="an HDF5 file, but not a result of `launcher gather`"):
        Hdf5Table(run.result)


def test_failed_samples_are_told_from_the_files(run: RunDir) -> None:
    gather(run, form=FORM)
    found = list(read_result_errors(run.result))
    assert [(one.id, one.row, one.kind) for one in found] == [(f"böok {row}", row, "LOAD") for row in BAD]


class Sum(Job):
    def process(self, batch: Any) -> dict[str, Any]:
        raise NotImplementedError

    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        return {"rows": [*(state or {"rows": []})["rows"], *block["index"].tolist()]}


def test_a_fold_sees_all_rows_of_all_files(run: RunDir) -> None:
    change_plan(run, job=JobSpec(f"{__name__}:Sum", {}))
    gather(run, form=FORM)
    with results.open(run.path) as found:
        assert found.summary["rows"].tolist() == [row for row in range(64) if row not in BAD]


def test_rows_are_read_from_the_files_that_have_them(run: RunDir) -> None:
    gather(run, form=FORM)
    expected = everything(np.arange(64))
    with results.open(run.path) as found:
        picked = [63, 0, 40, 21]
        np.testing.assert_array_equal(found.dataset("vector")[picked], expected["vector"][picked])
        np.testing.assert_array_equal(found.dataset("vector")[23:60:7, 1], expected["vector"][23:60:7, 1])
        assert found["text"][[63, 0, 40]] == [expected["text"][row] for row in (63, 0, 40)]
        assert [len(block["id"]) for block in found.blocks(30)] == [30, 30, 4]
    samples = results.dataset(run.path, ["id", "vector", "text"])
    for one in (samples, pickle.loads(pickle.dumps(samples))):  # as a DataLoader's worker has it
        assert len(one) == 58
        assert (one[57]["id"], one[57]["text"]) == ("böok 63", expected["text"][63])
        np.testing.assert_array_equal(one[0]["vector"], expected["vector"][0])


def test_few_files_are_open_at_a_time(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    gather(run, form=ResultForm(1))
    assert len(files_of(run)) > 6
    monkeypatch.setattr("launcher.results.split_table._SHARE", 1 << 40)
    monkeypatch.setattr("launcher.results.split_table._LEAST", 2)
    gc.disable()  # what is closed is closed then, and not once somebody collects it
    try:
        samples = results.dataset(run.path)
        before = len(os.listdir("/proc/self/fd"))
        for number in [57, 0, 30, 12, 44, 57, 3]:
            np.testing.assert_array_equal(
                samples[number]["vector"], everything(samples.rows[number : number + 1])["vector"][0]
            )
            assert len(os.listdir("/proc/self/fd")) <= before + 4
    finally:
        gc.enable()


def test_an_output_may_be_called_files(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 24), lambda rows: {"files": rows, "other": [f"{row}" for row in rows]})
    for form in (ResultForm(), ResultForm(300)):
        gather(run, form=form)
        assert verify(run).ok
        with results.open(run.path) as found:
            assert found["files"].tolist() == list(range(24))


# --- gathered again


class Killed(BaseException):
    """Ends a gather as if it had been killed, but for its descriptors."""


def raise_killed(*arguments: Any) -> None:
    raise Killed


CALLS = ("pwrite", "pwritev", "rename", "replace", "link", "unlink", "fsync", "fdatasync")


@contextmanager
def killed_at(call: int) -> Iterator[Callable[[], int]]:
    """From the ``call``th system call that changes something on, none does; yields how many there were."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= call:
                raise Killed
            return real(*arguments, **options)

        return called

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield lambda: count


def compute_again(run: RunDir) -> None:
    submit(run, 2, rows=Spans([(20, 50)]))
    with AttemptWriter(run, 2, 1) as again:
        again.commit_all(Spans([(20, 50)]), lambda rows: everything(rows + 100))
        again.beat()


@pytest.mark.parametrize("form", [FORM, ResultForm()], ids=["several", "one"])
def test_killed_at_any_moment_the_old_result_is_whole_or_the_new_one(run: RunDir, form: ResultForm) -> None:
    gather(run, form=FORM)
    old = columns(run)
    compute_again(run)
    new_path = run.path / "new.h5"
    with killed_at(1 << 30) as calls:
        gather(run, output=new_path, form=form)
    new, count = columns(new_path), calls()
    for path in [*(file.path for file in read_index(new_path)), new_path]:
        path.unlink()
    seen = []

    def kill(call: int) -> bool:
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            patch.setattr("jobs.gather.new_result.NewFile.__exit__", lambda file, *_: os.close(file.descriptor))
            with killed_at(call):
                gather(run, form=form)
            return False
        found = columns(run)
        assert found in (old, new)
        seen.append(found == new)
        return True

    assert kill(1)
    assert kill(count // 2)
    if form == FORM:  # the files are made, and all that is to be done is to publish them, and to remove the old ones
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jobs.gather.gathering.create_index", raise_killed)
            with pytest.raises(Killed):
                gather(run, form=form)
    calls_in_turn = itertools.count(1 if form == FORM else count - 6, 2)
    while kill(next(calls_in_turn)):
        pass
    assert not any(seen[:2])
    assert seen[-1]
    assert seen == sorted(seen)
    gather(run, form=form)
    assert columns(run) == new
    assert verify(run).ok
    assert len(results_of(run)) == 1 + len(read_index(run.result))


RECORDED = """
import sys
from pathlib import Path
from jobs.gather import volumes
from jobs.gather.gather import gather
from jobs.storage.files import fsync_folder
from tests.jobs.gather.test_split_results import FORM, compute_again
from tests.support.builders import build_run

volumes._HEAD = volumes._EACH = 0
run = build_run(Path(sys.argv[1]), (0, 20, 50, 64))
fsync_folder(run.path.parent)
gather(run, form=FORM)
compute_again(run)
print(flush=True)
sys.stdin.readline()
gather(run, form=FORM)
"""


@pytest.mark.thorough
def test_in_every_state_that_a_crash_may_leave_there_is_the_old_result_or_the_new_one(tmp_path: Path) -> None:
    root, replayed = tmp_path / "runs", tmp_path / "replayed"
    root.mkdir()
    calls, found = disk_calls(tmp_path, root), []
    command = [sys.executable, "-c", RECORDED, str(root / "run")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, env={**environment(), **calls.recording()}, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        begun, old = len(list(calls.recorded())), columns(root / "run" / "result.h5")
        process.communicate("\n")
    new = columns(root / "run" / "result.h5")
    for _, state in crash_states(list(calls.recorded()), root, random.Random(7), amount("STATES", 16), begun):
        shutil.rmtree(replayed, ignore_errors=True)
        replayed.mkdir()
        restore(state, replayed)
        found.append(columns(replayed / "run" / "result.h5"))
        assert found[-1] in (old, new)
    assert old in found
    assert new in found


def test_a_gather_that_was_killed_goes_on_with_the_files_that_are_there(run: RunDir) -> None:
    def kill(done: int, total: int) -> None:
        if done > 40:
            raise Killed

    with pytest.raises(Killed):
        gather(run, form=FORM, progress=kill)
    assert not run.result.exists()
    left = {path.name.lstrip("."): path.stat().st_mtime_ns for path in run.path.glob(".result-*")}
    assert len(left) > 2
    damaged = sorted(run.path.glob(".result-*"))[1]
    flip_byte(*value_in(damaged))
    gather(run, form=FORM)
    assert verify(run).ok
    again = {path.name: path.stat().st_mtime_ns for path in files_of(run)}
    assert [name for name, when in left.items() if again[name] != when] == [damaged.name.lstrip(".")]
    assert not list(run.path.glob(".result*"))


def test_files_of_another_gather_are_removed(run: RunDir) -> None:
    gather(run, form=FORM)
    first = files_of(run)
    compute_again(run)
    gather(run, form=ResultForm(2500))
    assert not any(path.exists() for path in first)
    gather(run)
    assert results_of(run) == ["result.h5"]


@pytest.mark.parametrize("again", ["another plan", "the same"])
def test_a_result_that_was_moved_away_keeps_its_files(run: RunDir, again: str) -> None:
    gather(run, form=FORM)
    before, aside = columns(run), run.path / "aside.h5"
    run.result.rename(aside)
    if again == "another plan":  # as --fresh makes it: the same fingerprint, and submissions from 1 on
        shutil.rmtree(run.attempts)
        run.attempts.mkdir()
        change_plan(run, created=time.time() + 1)
        with AttemptWriter(run) as fresh:
            fresh.commit_all(Spans([(0, 64)]), lambda rows: {**everything(rows), "label": (-rows).astype("i2")}, BAD)
            fresh.beat()
    gather(run, form=FORM)
    assert columns(aside) == before
    assert (columns(run) == before) == (again == "the same")
    compute_again(run)
    gather(run, form=FORM)
    assert columns(aside) == before


@pytest.mark.parametrize("allow_missing", [False, True])
def test_nothing_is_left_of_killed_gathers_of_other_files(run: RunDir, allow_missing: bool) -> None:
    if allow_missing:
        damage(run, 30, "vector")
    for call in ("give_names", "create_index", "note_replaced"):
        for size in (1, 1800):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(f"jobs.gather.gathering.{call}", raise_killed)
                patch.setattr("jobs.gather.new_result.NewFile.__exit__", lambda file, *_: os.close(file.descriptor))
                with pytest.raises(Killed):
                    gather(run, form=ResultForm(size), allow_missing=allow_missing)
    report = gather(run, form=FORM, allow_missing=allow_missing)
    assert len(results_of(run)) == 1 + report.files
    gather(run, allow_missing=allow_missing)
    assert results_of(run) == ["result.h5"]


def test_a_result_is_read_before_all_its_files_have_their_names(run: RunDir) -> None:
    gather(run, form=FORM)
    whole, files = columns(run), files_of(run)
    for path in files[1:]:
        path.rename(path.with_name(f".{path.name}"))
    assert columns(run) == whole
    assert verify(run).ok
    assert len(list(read_result_errors(run.result))) == len(BAD)
    gather(run, form=ResultForm(1))
    assert results_of(run) == sorted(["result.h5", *(path.name for path in files_of(run))])


def test_a_damaged_file_that_was_left_over_does_not_take_the_place_of_an_intact_one(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(run, form=FORM)
    path = files_of(run)[1]
    left = path.with_name(f".{path.name}")
    left.write_bytes(path.read_bytes())
    flip_byte(*value_in(left))
    monkeypatch.setattr("jobs.gather.gathering.give_names", lambda path: None)  # as if it had come a moment later
    gather(run, form=FORM)
    monkeypatch.undo()
    give_names(run.result)
    assert verify(run).ok


@pytest.mark.parametrize("other", [FORM, ResultForm(1)], ids=["alike", "other"])
def test_without_locks_two_gathers_of_several_files_make_a_whole_result(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, other: ResultForm
) -> None:
    expected = columns(gather(run, output=run.path / "one.h5").path)
    for module in ("jobs.gather.new_result", "jobs.storage.locks"):
        monkeypatch.setattr(f"{module}.try_lock", lambda descriptor: None)
    second = iter([20, 60, 1000])
    at = [next(second)]

    def make(done: int, total: int) -> None:
        if done >= at[0]:
            at[0] = next(second)
            assert gather(run, form=other).complete

    assert gather(run, form=FORM, progress=make).complete
    assert columns(run) == expected


def test_unfinished_files_of_another_result_stay(run: RunDir) -> None:
    theirs = [run.path / name for name in (".result-202401-3f9a2c-00000.h5", ".result-old-3f9a2c-00000.h5")]
    ours = run.path / ".result-3f9a2c-00000.h5"
    for path in (*theirs, ours):
        path.write_bytes(b"x")
    gather(run, form=FORM)
    assert all(path.exists() for path in theirs)
    assert not ours.exists()


def test_a_name_of_two_lines_is_that_of_files_too(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "of\ntwo.h5"
    for form in (FORM, ResultForm(1)):
        gather(run, form=form, output=path)
        names = sorted(file.path.name for file in read_index(path))
        assert sorted(one.name for one in path.parent.iterdir()) == sorted([path.name, *names])


def test_nothing_but_files_of_results_is_removed(run: RunDir) -> None:
    gather(run, form=FORM)
    with h5py.File(run.result, "r+") as file:
        rows = file["files"][()]
        rows["name"][0] = b"plan.json"
        file["files"][...] = rows
        file.attrs["replaces"] = '["manifest.arrow"]'
    gather(run, form=FORM)
    assert run.plan.exists()
    assert run.manifest.exists()
    assert verify(run).ok


def test_others_see_that_a_gather_of_several_files_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.gather.new_result._SIGN", 0.0)
    seen: set[object] = set()

    def look(done: int, total: int) -> None:
        with pytest.raises(BusyError) as busy:
            gather(run, form=FORM)
        seen.add(busy.value.look())

    gather(run, form=ResultForm(1), progress=look)
    assert len(seen) > 4


def test_a_result_that_lacks_rows_does_not_take_the_place_of_one_that_is_complete(run: RunDir) -> None:
    gather(run, form=FORM)
    before = columns(run)
    compute_again(run)
    damage(run, 60, "vector")
    with pytest.raises(DamageError, match="rows 58-63: vector"):
        gather(run, form=FORM, allow_missing=True)
    assert columns(run) == before


def test_damaged_batches_are_left_out_of_several_files_when_that_is_allowed(run: RunDir) -> None:
    damage(run, 30, "vector")
    damage(run, 60, "text")
    report = gather(run, form=FORM, allow_missing=True)
    assert (report.missing, report.complete) == (14, False)
    with pytest.raises(IncompleteError, match="14 of 64 samples have no result"):
        results.open(run.path)
    assert verify(run).result_problems == ()
    assert [row for row, status in enumerate(columns(run)["status"]) if status == 0] == [*range(28, 36), *range(58, 64)]


def test_of_a_batch_that_is_damaged_another_attempt_has_the_bytes(run: RunDir) -> None:
    expected = columns(gather(run, form=FORM).path)
    with AttemptWriter(run, worker=7) as late:
        late.commit_all(Spans([(20, 50)]), bad=BAD)
        late.beat()
    damage(run, 30, "vector")
    run.result.unlink()
    gather(run, form=FORM)
    assert columns(run) == expected


# --- damage


@pytest.mark.parametrize("number", [0, 2, -1])
def test_damage_of_any_file_is_found_told_and_mended(run: RunDir, number: int) -> None:
    gather(run, form=FORM)
    whole, path = columns(run), files_of(run)[number]
    kept = {other: other.stat().st_ino for other in files_of(run) if other != path}
    flip_byte(*value_in(path))
    report = verify(run)
    assert [problem.partition(":")[0] for problem in report.result_problems] == [path.name]
    gather(run, form=FORM)
    assert verify(run).ok
    assert columns(run) == whole
    assert {other: other.stat().st_ino for other in kept} == kept


@pytest.mark.parametrize("what", ["gone", "another's", "cut off"])
def test_a_file_that_is_not_what_the_index_says_is_refused(run: RunDir, what: str) -> None:
    gather(run, form=FORM)
    path, other = files_of(run)[1:3]
    if what == "gone":
        path.unlink()
    elif what == "another's":
        path.write_bytes(other.read_bytes())
    else:
        os.truncate(path, path.stat().st_size // 2)
    assert not verify(run).ok
    with pytest.raises(DamageError, match=f"{path.name}.*`launcher gather` makes it again"):
        columns(run)
    gather(run, form=FORM)
    assert verify(run).ok


def test_a_damaged_index_is_refused(run: RunDir) -> None:
    gather(run, form=FORM)
    with h5py.File(run.result, "r+") as file:
        rows = file["files"][()]
        rows["start"][1] += 1
        file["files"][...] = rows
    assert verify(run).result_problems == (f"{run.result}: its files are not of the rows that the run has",)
    assert read_seal(run.result) is not None


def test_a_result_that_is_gathered_again_is_told_to_whoever_has_it_open(run: RunDir) -> None:
    gather(run, form=ResultForm(1))
    with results.open(run.path) as found:
        compute_again(run)
        gather(run, form=ResultForm(1))
        with pytest.raises(RunError, match="was gathered again since it was opened: open it anew"):
            found.dataset("vector")[-1]


def test_the_result_of_each_manifest_has_files_of_its_own(tmp_path: Path) -> None:
    run = build_parts(tmp_path / "run")
    whole = gather(run, output=tmp_path / "{manifest}.h5")
    report = gather(run, form=FORM)
    assert [one.files > 1 for one in report.parts] == [True, False, False]
    assert report.files == sum(one.files for one in report.parts)
    for one, other in zip(whole.parts, report.parts, strict=True):
        assert columns(one.path) == columns(other.path)
    assert verify(run).ok
