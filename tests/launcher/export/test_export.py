"""What an export holds is what the opened result holds, whatever it was made from; and it is there whole or not at all."""

import importlib.util
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import DamageError, InputError
from jobs.extras import how_to_install
from jobs.gather.gather import gather
from jobs.storage.rundir import RunDir
from jobs.storage.submission import ResultForm
from launcher import results
from launcher.export.export import FORMATS, export
from launcher.results import OK, Results
from launcher.results import portions as cutting
from tests.support.builders import build_books, build_plan, build_run, damage, everything, write_shard
from tests.support.examples import examples
from tests.support.launcher_runs import ROOT, environment, launcher

ROWS = 64
BAD = [3, 16, 17]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return build_books(tmp_path_factory.mktemp("runs"), ROWS, BAD)


def read_parquet(folder: Path) -> dict[str, Any]:
    table = pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet")))
    return {name: table[name].to_pylist() for name in table.column_names}


def read_numpy(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    encodings = {one["name"]: one["encoding"] for one in json.loads((folder / "_result.json").read_text())["outputs"]}
    for path in sorted(folder.glob("*.npy")):
        name = path.name.split(".")[0]
        array = np.load(path, mmap_mode="r")
        if path.name == f"{name}.npy":
            found[name] = array.tolist()
        elif path.name == f"{name}.offsets.npy":
            values = np.load(folder / f"{name}.values.npy")
            rows = [values[a:b] for a, b in itertools.pairwise(array)]
            encoding = encodings.get(name, "utf-8" if name == "id" else None)
            found[name] = [decoded(row, encoding) for row in rows]
    return found


def decoded(row: np.ndarray, encoding: str | None) -> Any:
    if encoding is None:
        return row.tolist()
    return row.tobytes() if encoding == "bytes" else row.tobytes().decode()


def read_zarr(folder: Path) -> dict[str, Any]:
    zarr = pytest.importorskip("zarr")
    warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)  # of files that are not Zarr's
    group = zarr.open_group(folder, mode="r")
    encodings = {one["name"]: one["encoding"] for one in group.attrs["launcher"]["outputs"]} | {"id": "utf-8"}
    found: dict[str, Any] = {name: array[:].tolist() for name, array in group.arrays()}
    for name, inner in group.groups():
        values = inner["values"][:]
        found[name] = [decoded(values[a:b], encodings[name]) for a, b in itertools.pairwise(inner["offsets"][:])]
    return found


def read_lance(folder: Path) -> dict[str, Any]:
    lance = pytest.importorskip("lance")
    table = lance.dataset(folder).to_table()
    return {name: table[name].to_pylist() for name in table.column_names}


HAS_ZARR = importlib.util.find_spec("zarr") is not None
READERS: dict[str, Callable[[Path], dict[str, Any]]] = {"parquet": read_parquet, "numpy": read_numpy}
if HAS_ZARR:
    READERS["zarr"] = read_zarr
if "EXPORT_TO_LANCE" in os.environ:  # see test_other_programs.py
    READERS["lance"] = read_lance


def expected(found: Results) -> dict[str, Any]:
    """The columns of a result as Python's own values."""
    columns = {name: column if isinstance(column, np.ndarray) else list(column) for name, column in found.items()}
    return {
        name: [value.tolist() if isinstance(value, np.ndarray | np.generic) else value for value in column]
        for name, column in columns.items()
    }


def assert_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert sorted(one) == sorted(other)
    for name in other:
        np.testing.assert_equal(one[name], other[name], name)


@pytest.mark.parametrize("source", ["run", "result"])
@pytest.mark.parametrize("name", READERS)
def test_an_export_holds_what_the_result_holds(run: RunDir, tmp_path: Path, name: str, source: str) -> None:
    with results.open(run.path if source == "run" else run.path.parent / "books.h5") as found:
        done = export(found, tmp_path / "out", name, rows_per_file=10)
        assert_alike(READERS[name](tmp_path / "out"), expected(found))
    assert done.rows == ROWS
    assert done.bytes == sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    facts = json.loads((tmp_path / "out" / "_result.json").read_text())
    assert facts["complete"]
    assert facts["provenance"]["fingerprint"] == "f" * 16
    errors = [json.loads(line) for line in (tmp_path / "out" / "_errors.jsonl").read_text().splitlines()]
    assert [(one["row"], one["id"], one["attempts"]) for one in errors] == [(n, f"böok {n}", 2) for n in BAD]
    assert errors[0]["message"] == "cannot read sample 3: ☠"


DTYPES = st.sampled_from(["?", "u1", "i2", "<i8", "<f2", "<f4", "<f8"])
SHAPES = st.lists(st.integers(0, 3), max_size=2).map(tuple)


@settings(max_examples=examples(10), deadline=None)
@given(st.data())
def test_any_output_is_exported_as_it_is(data: st.DataObject) -> None:
    fixed, items = (
        data.draw(st.tuples(DTYPES, SHAPES)),
        data.draw(st.tuples(DTYPES, SHAPES.filter(lambda s: 0 not in s))),
    )
    rows, batch = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 9))
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
    bad = data.draw(st.sets(st.integers(0, rows - 1)))
    per_file = data.draw(st.one_of(st.none(), st.integers(1, 12)))

    def compute(numbers: np.ndarray) -> dict[str, Any]:
        value = np.broadcast_to(numbers.reshape(-1, *(1 for _ in fixed[1])), (len(numbers), *fixed[1]))
        return {
            "fixed": (value % 100).astype(fixed[0]),
            "ragged": [np.full((lengths[n], *items[1]), n % 100).astype(items[0]) for n in numbers],
            "text": ["ü" * lengths[n] for n in numbers],
            "blob": [bytes(lengths[n]) for n in numbers],
        }

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        run = build_run(path / "run", (0, rows), compute, failed=bad, batch_size=batch)
        gather(run)
        for source in (True, False):
            with results.open(run.path, in_place=source) as found:
                for name, read in READERS.items():
                    if name in ("parquet", "lance") and 0 in fixed[1]:
                        continue
                    export(found, path / f"{name}-{source}", name, rows_per_file=per_file)
                    assert_alike(read(path / f"{name}-{source}"), expected(found))


def test_parquet_has_types_that_arrow_has(run: RunDir, tmp_path: Path) -> None:
    with results.open(run.path) as found:
        export(found, tmp_path / "out", "parquet", rows_per_file=30)
    files = sorted((tmp_path / "out").glob("*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in files] == [30, 30, 4]
    schema = pq.read_schema(files[1])
    assert schema.field("vector").type == pa.list_(pa.float32(), 4)
    assert schema.field("boxes").type == pa.list_(pa.list_(pa.float64(), 4))
    assert [schema.field(name).type for name in ("id", "text", "blob", "flag", "status")] == [
        pa.string(), pa.string(), pa.binary(), pa.bool_(), pa.uint8(),
    ]  # fmt: skip
    assert json.loads(schema.metadata[b"launcher"])["provenance"]["name"] == "books"


def test_files_end_where_their_size_is_reached(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_BYTES", 1000)
    with results.open(run.path) as found:
        export(found, tmp_path / "out", "parquet", file_bytes=3000)
        assert_alike(read_parquet(tmp_path / "out"), expected(found))
    assert len(list((tmp_path / "out").glob("*.parquet"))) > 1


@pytest.mark.parametrize(
    ("name", "compression"),
    [(name, one) for name in READERS for one in FORMATS[name].compressions],
)
def test_a_compressed_export_holds_the_same(run: RunDir, tmp_path: Path, name: str, compression: str) -> None:
    with results.open(run.path) as found:
        export(found, tmp_path / "out", name, compression=compression)
        assert_alike(READERS[name](tmp_path / "out"), expected(found))
    if name == "parquet":
        column = pq.read_metadata(tmp_path / "out" / "part-00000.parquet").row_group(0).column(0)
        assert column.compression == {"none": "UNCOMPRESSED"}.get(compression, compression.upper())


def test_a_result_in_several_files_is_exported_as_one(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.gather.volumes._HEAD", 0)
    monkeypatch.setattr("jobs.gather.volumes._EACH", 0)
    assert gather(run, output=tmp_path / "split.h5", form=ResultForm(1500)).files > 2
    with results.open(tmp_path / "split.h5") as found, results.open(run.path) as whole:
        export(found, tmp_path / "out", "parquet")
        assert_alike(read_parquet(tmp_path / "out"), expected(whole))


def test_numpy_files_are_mapped(run: RunDir, tmp_path: Path) -> None:
    with results.open(run.path) as found:
        export(found, tmp_path / "out", "numpy")
    vectors = np.load(tmp_path / "out" / "vector.npy", mmap_mode="r")
    assert isinstance(vectors, np.memmap)
    assert vectors.shape == (ROWS, 4)


def test_numbers_that_arrow_does_not_know_are_refused(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 4), lambda rows: {"wave": rows.astype(np.complex64)})
    with results.open(run.path) as found:
        with pytest.raises(
            InputError, match=r"'wave' is of complex64, which Arrow does not know; valid: --format numpy"
        ):
            export(found, tmp_path / "out", "parquet")
        assert not list(tmp_path.glob("*out*"))
        export(found, tmp_path / "out", "numpy")
        assert np.load(tmp_path / "out" / "wave.npy").tolist() == [0, 1, 2, 3]


def test_nothing_is_left_of_an_export_of_damaged_rows(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 16))
    damage(run, 9, "vector")
    with results.open(run.path) as found, pytest.raises(DamageError, match="rows 8-15: vector"):
        export(found, tmp_path / "out", "parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_what_is_there_is_not_replaced(run: RunDir, tmp_path: Path) -> None:
    with results.open(run.path) as found, pytest.raises(InputError, match="is there already"):
        export(found, tmp_path, "parquet")


def read_tars(folder: Path) -> dict[int, dict[str, Any]]:
    """Samples by row: file name -> content, as WebDataset groups and decodes them."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as file:
            for member in file:
                key, _, name = member.name.partition(".")
                content = file.extractfile(member)
                assert content is not None
                data = content.read()
                value = np.load(io.BytesIO(data)).tolist() if name.endswith("npy") else data
                found.setdefault(int(key), {})[name] = value
    return found


def test_tars_hold_the_samples_that_are_ok(run: RunDir, tmp_path: Path) -> None:
    with results.open(run.path) as found:
        export(found, tmp_path / "out", "webdataset", rows_per_file=25)
        columns = expected(found)
    samples = read_tars(tmp_path / "out")
    assert list(samples) == [row for row in range(ROWS) if row not in BAD]
    for row, sample in samples.items():
        assert json.loads(sample.pop("json")) == {"id": f"böok {row}", "row": row}
        assert sample.pop("text.txt").decode() == columns["text"][row]
        assert sample.pop("blob.bin") == columns["blob"][row]
        assert sample == {f"{name}.npy": columns[name][row] for name in ("vector", "label", "flag", "tokens", "boxes")}
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["000000.tar", "000001.tar", "000002.tar"]
    with results.open(run.path) as found:
        export(found, tmp_path / "small", "webdataset", file_bytes=100_000)
    assert len(list((tmp_path / "small").glob("*.tar"))) > 3
    assert read_tars(tmp_path / "small").keys() == samples.keys()


@pytest.mark.skipif(HAS_ZARR, reason="zarr is installed")
def test_a_format_that_needs_more_says_how_to_get_it(run: RunDir, tmp_path: Path) -> None:
    with (
        results.open(run.path) as found,
        pytest.raises(InputError, match=re.escape(f"zarr needs zarr: {how_to_install('zarr')}")),
    ):
        export(found, tmp_path / "out", "zarr")


KILLED = """
import sys, time
from pathlib import Path
from launcher import results
from launcher.export.export import export

def stop(done, total):
    print("written", flush=True)
    time.sleep(600)

export(results.open(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], progress=stop)
"""


@pytest.mark.parametrize("name", READERS)
def test_a_killed_export_leaves_nothing_by_its_name_and_the_next_one_cleans_up(
    run: RunDir, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(run.path), str(target), name]
    with subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        with results.open(run.path) as found:
            export(found, tmp_path / "other", name)
            (going_on,) = tmp_path.glob(".out.*.tmp")
        os.kill(process.pid, signal.SIGKILL)
    assert going_on.exists()
    assert not target.exists()
    with results.open(run.path) as found:
        export(found, target, name)
        assert_alike(READERS[name](target), expected(found))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


# --- the command


def test_the_command_exports_a_run(run: RunDir, tmp_path: Path) -> None:
    done = launcher(tmp_path, "export", str(run.path), "out", "--format", "parquet", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "schema": 1, "export": "out", "format": "parquet", "rows": ROWS, "complete": True,
        "bytes": sum(path.stat().st_size for path in (tmp_path / "out").iterdir()),
    }  # fmt: skip
    assert pq.read_table(tmp_path / "out")["id"].to_pylist() == [f"böok {n}" for n in range(ROWS)]


def test_an_incomplete_run_is_refused_unless_it_is_wanted(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16))
    write_shard(run, 0, batches=[8], done=False)
    command = "export", str(run.path), "out", "--format", "numpy"

    done = launcher(tmp_path, *command)
    assert done.returncode == 1
    assert "8 of 16 samples have no result yet" in done.stderr
    assert "--allow-missing" in done.stderr
    assert not (tmp_path / "out").exists()
    assert launcher(tmp_path, *command, "--allow-missing").returncode == 1
    status = np.load(tmp_path / "out" / "status.npy")
    assert np.flatnonzero(status == OK).tolist() == list(range(8, 16))
    assert np.load(tmp_path / "out" / "text.values.npy").tobytes().decode() == "".join(
        everything(np.arange(8, 16))["text"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "csv"), f"no format 'csv'; valid: {', '.join(FORMATS)}"),
        (
            ("--format", "parquet", "--compression", "zip"),
            "parquet has no compression 'zip'; valid: snappy, zstd, gzip, lz4,",
        ),
        (("--format", "numpy", "--compression", "gzip"), "numpy has no compression 'gzip'; it has none"),
        (("--format", "parquet", "--max-file-size", "much"), "--max-file-size much: must be"),
        (("--format", "parquet", "--rows-per-file", "0"), "--rows-per-file 0: must be 1 or more"),
    ],
)
def test_bad_input_is_told(run: RunDir, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = launcher(tmp_path, "export", str(run.path), "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not HAS_ZARR, reason="needs the extra zarr")
def test_a_type_that_zarr_does_not_know_is_refused_with_what_is_valid(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", (0, 4), lambda rows: {"y": rows.astype(np.longdouble)})
    with results.open(run.path, in_place=True) as found:
        with pytest.raises(InputError, match="'y' is of float128, which Zarr does not know; valid: --format numpy"):
            export(found, tmp_path / "out", "zarr")
        with pytest.raises(InputError, match="valid: --format numpy, or zarr for all but long doubles"):
            export(found, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()
