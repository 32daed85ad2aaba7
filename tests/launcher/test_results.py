import multiprocessing
import os
import pickle
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import DamageError, IncompleteError, InputError, RunError
from jobs.gather.gather import gather
from jobs.gather.verify import verify
from jobs.job import Job
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.records import JobSpec
from jobs.storage.rundir import RunDir
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher import results
from launcher.results import FAILED, OK, Ragged, Results
from launcher.runs.submissions import Outcome
from launcher.submit.result import gather_result
from tests.support.builders import build_plan, build_run, change_plan, everything, vectors, write_shard
from tests.support.launcher_runs import ROOT

# The machine may be busy with other things.

ROWS = 64
BAD = [3, 16, 17]
EXPECTED = everything(np.arange(ROWS))


class Summary(Job):
    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}

    def reduce(self, state: Any, block: dict[str, Any]) -> Any:
        return (state or 0) + len(block["index"])

    def finish(self, state: Any) -> dict[str, Any]:
        return {"count": state, "title": "Bücher", "names": ["a", "ü"], "mean": np.arange(3.0)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A complete run of 64 samples, three of which failed."""
    path = tmp_path_factory.mktemp("runs") / "books"
    ids = [f"böok {n}" for n in range(ROWS)]
    run = build_run(path, (0, 20, 50, 64), failed=BAD, ids=ids, job=JobSpec("tests.launcher.test_results:Summary"))
    gather(run)
    return run


@pytest.fixture
def found(run: RunDir) -> Any:
    with results.open(run.result) as found:
        yield found


@pytest.fixture
def part(tmp_path: Path) -> RunDir:
    """A run with a result that lacks 8 samples."""
    run = build_plan(tmp_path / "run", (0, 16))
    write_shard(run, 0, batches=[8], done=False)
    gather(run, allow_missing=True)
    return run


def test_a_run_directory_stands_for_its_result(run: RunDir) -> None:
    with results.open(run.path) as found:
        assert found.path == run.result
    with results.open(str(run.path)) as found:
        assert len(found) == ROWS


def test_a_run_is_found_by_its_name(run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(run.path.parent)
    monkeypatch.chdir(tmp_path)

    with results.open("books") as found:
        assert len(found) == ROWS


def test_the_result_of_a_run_is_where_its_newest_submission_put_it(tmp_path: Path) -> None:
    run, output = build_run(tmp_path / "run", (0, 8), vectors), tmp_path / "vectors.h5"
    second = replace(Submission.read(run.submission(1)), number=2, resources=Resources(output=str(output)))
    second.write(run.submission(2))
    gather(run, output=output)

    with results.open(run.path) as found:
        assert found.path == output


def test_ids_status_and_outputs_are_those_of_the_run(found: Results) -> None:
    assert found.ids.tolist() == [f"böok {n}" for n in range(ROWS)]
    assert found.outputs == tuple(sorted(EXPECTED))
    assert np.flatnonzero(found.status == FAILED).tolist() == BAD
    assert np.count_nonzero(found.status == OK) == ROWS - len(BAD)
    assert found.complete
    assert repr(found).startswith("Results(")


def test_ids_without_a_column_are_row_numbers(part: RunDir) -> None:
    with results.open(part.path, allow_incomplete=True) as found:
        assert found.ids.dtype == np.int64
        assert found.ids.tolist() == list(range(16))


def test_errors_are_a_table_of_the_failed_samples(found: Results) -> None:
    errors = found.errors

    assert list(errors.columns) == ["row", "id", "kind", "message", "attempts"]
    assert errors["row"].tolist() == BAD
    assert errors["id"].tolist() == [f"böok {n}" for n in BAD]
    assert errors["message"].tolist() == [f"cannot read sample {n}: ☠" for n in BAD]
    assert errors["attempts"].tolist() == [2, 2, 2]


def test_a_run_without_errors_has_an_empty_table(part: RunDir) -> None:
    with results.open(part.path, allow_incomplete=True) as found:
        assert len(found.errors) == 0


@pytest.mark.parametrize("name", ["vector", "label", "flag"])
def test_a_fixed_output_is_an_array(found: Results, name: str) -> None:
    expected = EXPECTED[name].copy()
    expected[BAD] = np.nan if name == "vector" else 0

    np.testing.assert_array_equal(found[name], expected)
    assert found[name].dtype == expected.dtype
    np.testing.assert_array_equal(found.dataset(name)[10:20], expected[10:20])


@pytest.mark.parametrize("name", ["tokens", "boxes", "text", "blob"])
def test_rows_of_a_ragged_output_are_read_by_index(found: Results, name: str) -> None:
    column = found[name]

    assert len(column) == ROWS
    for row in (0, 1, 2, 19, 20, 63, -1, -64):
        np.testing.assert_array_equal(column[row], EXPECTED[name][row])
        assert type(column[row]) is type(EXPECTED[name][row])
    assert len(column[3]) == 0
    sizes = [len(row.encode() if isinstance(row, str) else row) for row in EXPECTED[name]]
    assert column.lengths.tolist() == [0 if row in BAD else size for row, size in enumerate(sizes)]
    assert len(column.values) == column.offsets[-1]
    assert [len(row) for row in column] == [len(column[row]) for row in range(ROWS)]


limits = st.one_of(st.none(), st.integers(-70, 70))


@given(limits, limits, st.one_of(st.none(), st.integers(-9, 9).filter(bool)))
def test_slices_of_a_ragged_output_are_those_of_a_list(
    run: RunDir, start: int | None, stop: int | None, step: int | None
) -> None:
    expected = ["" if row in BAD else text for row, text in enumerate(EXPECTED["text"])]

    with results.open(run.result) as found:
        assert found["text"][start:stop:step] == expected[start:stop:step]


def test_rows_of_a_ragged_output_are_picked_by_a_mask_or_a_list(found: Results) -> None:
    mask = np.zeros(ROWS, bool)
    mask[[5, 60]] = True

    assert found["text"][mask] == [EXPECTED["text"][5], EXPECTED["text"][60]]
    assert found["text"][[60, -59, 60]] == [EXPECTED["text"][row] for row in (60, 5, 60)]
    assert found["text"][np.array([], int)] == []


@pytest.mark.parametrize("row", [64, -65])
def test_a_row_that_is_not_there_is_an_index_error(found: Results, row: int) -> None:
    with pytest.raises(IndexError):
        found["text"][row]


def test_an_unknown_output_names_the_known_ones(found: Results) -> None:
    with pytest.raises(KeyError, match="no output 'vectors'; the outputs are: blob, boxes"):
        found["vectors"]
    with pytest.raises(KeyError, match="no output 'errors'"):
        found["errors"]
    with pytest.raises(KeyError, match="no column 'x'; the columns are: id, status, blob"):
        found.to_pandas(["id", "x"])
    with pytest.raises(KeyError, match="'text' is of variable length"):
        found.dataset("text")


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_blocks_hold_all_rows_in_order(found: Results, rows: int) -> None:
    blocks = list(found.blocks(rows))

    assert [len(block["id"]) for block in blocks[:-1]] == [rows] * (len(blocks) - 1)
    assert [one for block in blocks for one in block["id"]] == found.ids.tolist()
    assert [one for block in blocks for one in block["text"]] == list(found["text"])
    np.testing.assert_array_equal(np.concatenate([block["vector"] for block in blocks]), found["vector"])
    assert list(blocks[0]) == ["id", "status", *found.outputs]


def test_blocks_of_some_columns_hold_no_others(found: Results) -> None:
    assert [list(block) for block in found.blocks(32, ["label"])] == [["label"]] * 2


def test_a_data_frame_has_a_row_a_sample(found: Results) -> None:
    frame = found.to_pandas()

    assert list(frame.columns) == ["id", "status", *found.outputs]
    assert frame["id"].tolist() == found.ids.tolist()
    assert frame["label"].dtype == np.int16
    assert frame["flag"].dtype == bool
    np.testing.assert_array_equal(frame["vector"][5], EXPECTED["vector"][5])
    assert frame["tokens"][6] == EXPECTED["tokens"][6].tolist()
    assert frame["text"][5] == EXPECTED["text"][5]
    assert frame["blob"][4] == EXPECTED["blob"][4]


def test_a_data_frame_of_some_columns_has_them_in_that_order(found: Results) -> None:
    assert list(found.to_pandas(["text", "id"]).columns) == ["text", "id"]


def test_the_summary_holds_arrays_numbers_and_text(found: Results) -> None:
    summary = found.summary

    assert summary["count"] == ROWS - len(BAD)
    assert summary["title"] == "Bücher"
    assert list(summary["names"]) == ["a", "ü"]
    assert summary["mean"].tolist() == [0, 1, 2]


def test_provenance_is_that_of_the_plan(found: Results) -> None:
    assert found.provenance["name"] == "books"
    assert found.provenance["job"]["path"] == "tests.launcher.test_results:Summary"


def test_an_incomplete_result_is_refused_unless_it_is_wanted(part: RunDir) -> None:
    with pytest.raises(IncompleteError, match=r"8 of 16 samples have no result.*allow_incomplete=True"):
        results.open(part.path)

    with results.open(part.path, allow_incomplete=True) as found:
        assert not found.complete
        assert found.status.tolist() == [0] * 8 + [1] * 8
        assert found["text"][:9] == [""] * 8 + [EXPECTED["text"][8]]


def test_a_result_with_too_many_failed_samples_says_that(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 8), failed=[3], node=NodeSettings(max_failed_samples=0))
    gather(run, allow_missing=True)

    with pytest.raises(IncompleteError, match=r"more samples failed than node\.max_failed_samples allows"):
        results.open(run.path)


@pytest.mark.parametrize("goes_on", [True, False])
def test_gather_of_a_run_that_goes_on_says_that_the_result_will_come(tmp_path: Path, goes_on: bool) -> None:
    run = build_plan(tmp_path / "run", (0, 8))
    replace(Submission.read(run.submission(1)), process=ProcessIdentity.current().to_json()).write(run.submission(1))
    if not goes_on:
        Outcome(1.0, cancelled=True).write(run, 1)
    with pytest.raises(IncompleteError) as error:
        gather_result(run)
    assert (f"launcher status {run.path} --watch" in "".join(getattr(error.value, "__notes__", ()))) is goes_on


def test_a_command_in_a_message_can_be_typed_whatever_the_path_is(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "my runs" / "a'b", (0, 8))
    with pytest.raises(IncompleteError) as error:
        results.open(run.path)
    told = str(error.value).partition("`launcher rerun ")[2].partition("`")[0]
    assert shlex.split(told) == [str(run.path)]


def test_a_run_that_is_not_done_says_what_to_do(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 8))

    with pytest.raises(IncompleteError, match=f"8 of 8 samples have no result yet: `launcher rerun {run.path}`"):
        results.open(run.path)


def test_a_damaged_submission_is_named(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 8))
    run.submission(1).write_text("{")

    with pytest.raises(RunError, match=r"0001\.json: cut short or damaged"):
        results.open(run.path)


def test_a_path_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        results.open(tmp_path / "nothing.h5")


def test_other_files_are_no_results(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("text")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1

    with pytest.raises(InputError, match=r"text\.h5: not a result"):
        results.open(tmp_path / "text.h5")
    with pytest.raises(InputError, match=r"other\.h5: an HDF5 file, but not a result"):
        results.open(tmp_path / "other.h5")


def test_a_truncated_result_is_damage(run: RunDir, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(run.result.read_bytes())
    os.truncate(copy, copy.stat().st_size // 2)

    with pytest.raises(DamageError, match=r"copy\.h5: HDF5 cannot read it"):
        results.open(copy)


@pytest.mark.parametrize("what", [b"provenance", b"TREE", b"HEAP", b"SNOD", b"errors"])
def test_damage_to_what_hdf5_keeps_is_told_when_the_result_is_opened(run: RunDir, tmp_path: Path, what: bytes) -> None:
    copy, content = tmp_path / "copy.h5", run.result.read_bytes()
    copy.write_bytes(content.replace(what, bytes(range(200, 200 + len(what)))))

    with pytest.raises((DamageError, InputError), match=r"copy\.h5"):
        results.open(copy).provenance  # noqa: B018 - the last to be read


def test_a_result_without_outputs_is_read(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 4), failed=range(4))
    gather(run)

    with results.open(run.path) as found:
        assert found.outputs == ()
        assert list(found.to_pandas().columns) == ["id", "status"]
        assert found.summary == {}


def test_a_closed_result_is_closed(run: RunDir) -> None:
    with results.open(run.path) as found:
        pass

    with pytest.raises(ValueError, match=r"[Cc]losed|[Ii]nvalid|[Uu]nable"):
        found.dataset("vector")


def test_importing_results_loads_neither_h5py_nor_pandas() -> None:
    code = "import sys, launcher.results; print({'h5py', 'pandas', 'torch', 'pyarrow'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == "set()\n"


# --- as a mapping


def test_a_result_maps_names_to_columns(found: Results) -> None:
    assert "vector" in found
    assert "nothing" not in found
    assert list(found) == ["id", "status", *found.outputs] == list(found.keys())
    assert list(found["id"]) == list(found.ids)
    assert found["status"].tolist() == found.status.tolist()
    assert dict(found)["label"].tolist() == found["label"].tolist()
    assert [name for name, _ in found.items()] == list(found)
    assert len(list(found.values())) == len(list(found))
    assert found.get("nothing") is None
    assert len(found) == ROWS


@pytest.mark.parametrize(
    "key", [[True] * 10, np.ones(ROWS + 1, bool), np.zeros((2, 2), int), [0.5], ["a"], np.ones((ROWS, 1), bool)]
)
def test_rows_are_not_chosen_by_what_does_not_fit(found: Results, key: Any) -> None:
    with pytest.raises(IndexError, match=r"a mask of|rows are chosen by"):
        found["tokens"][key]


def test_rows_are_chosen_by_masks_and_numbers(found: Results) -> None:
    tokens = found["tokens"]
    mask = np.arange(ROWS) % 2 == 0
    assert len(tokens[mask]) == ROWS // 2
    assert tokens[[]] == []
    assert tokens[[1, -1]][0].tolist() == tokens[1].tolist()
    with pytest.raises(IndexError):
        tokens[[ROWS]]


@pytest.mark.parametrize("rows", [0, -1])
def test_blocks_have_rows(found: Results, rows: int) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        found.blocks(rows)


def test_one_name_is_no_list_of_columns(found: Results) -> None:
    with pytest.raises(TypeError, match="give a list of names"):
        found.to_pandas("vector")


# --- whose it is


def test_the_result_of_another_run_in_its_place_is_refused(tmp_path: Path) -> None:
    runs = [build_run(tmp_path / name, (0, 16), config={"name": name}) for name in "AB"]
    for run, fingerprint in zip(runs, ("a" * 16, "b" * 16), strict=True):
        change_plan(run, fingerprint=fingerprint)
        submission = Submission.read(run.submission(1))
        resources = replace(submission.resources, output=str(tmp_path / "shared.h5"))
        replace(submission, resources=resources).write(run.submission(1))
        gather(run, output=tmp_path / "shared.h5")
    with pytest.raises(RunError, match=r"holds the result of another run now, 'B'; `launcher gather"):
        results.open(runs[0].path)
    with results.open(runs[1].path) as found:
        assert len(found) == 16
    report = verify(runs[0], output=tmp_path / "shared.h5")
    assert report.result_problems == (f"{tmp_path / 'shared.h5'}: holds the result of another run, 'B'",)


LOCKS = """
#define _GNU_SOURCE
#include <errno.h>
int flock(int fd, int how) { errno = ENOLCK; return -1; }
int lockf(int fd, int how, long n) { errno = ENOLCK; return -1; }
"""
OPEN = "import sys; from launcher import results; print(len(results.open(sys.argv[1])))"


def test_a_result_is_opened_where_locks_are_refused(run: RunDir, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "locks.c").write_text(LOCKS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "locks.so", tmp_path / "locks.c"], check=True)
    preloaded = {**os.environ, "LD_PRELOAD": str(tmp_path / "locks.so"), "PYTHONPATH": str(ROOT)}
    for program in (
        OPEN,
        "import sys; from jobs.gather.verify import verify; from jobs.storage.rundir import RunDir;"
        "from pathlib import Path; print(verify(RunDir(Path(sys.argv[1]))).ok or 1 / 0)",
    ):
        done = subprocess.run([sys.executable, "-c", program, run.path], env=preloaded, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def _read(found: Results, tokens: Ragged, row: int) -> tuple[Any, Any, Any]:
    return found["vector"][row].tolist(), tokens[row].tolist(), found.ids[row]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_an_opened_result_is_read_in_other_processes(found: Results, start: str) -> None:
    tokens, rows = found["tokens"], [0, 4, 7, ROWS - 1]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(start)) as pool:
        read = [pool.submit(_read, found, tokens, row) for row in rows]
        assert [one.result(60) for one in read] == [_read(found, tokens, row) for row in rows]


def test_a_result_that_was_gathered_again_is_not_taken_for_the_one_that_was_opened(run: RunDir) -> None:
    with results.open(run.path) as found:
        kept = [pickle.dumps(found), pickle.dumps(found["tokens"])]
    gather(run)
    for one in kept:
        with pytest.raises(RunError, match="gathered again"):
            pickle.loads(one)


def test_a_row_and_an_item_are_not_taken_for_two_rows(found: Results) -> None:
    with pytest.raises(IndexError, match=r"\[3, 0\]: .* write \[row\]\[item\]"):
        found["tokens"][3, 0]
