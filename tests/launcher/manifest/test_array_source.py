"""Arrays of HDF5 files and Zarr stores as manifests: scalars are columns, all else is read by tasks, row by row."""

import multiprocessing
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.references import array_rows
from jobs.references.block_cache import BlockCache
from jobs.storage.samples import Samples
from launcher.manifest.formats import open_source
from launcher.manifest.manifest import ManifestInfo, build_manifest
from launcher.manifest.sources import Source
from tests.launcher.manifest.source_tests import SourceTests

N = 400
FEATURES = np.random.default_rng(0).normal(size=(N, 5)).astype("f4")
IMAGES = np.arange(N * 12, dtype="u2").reshape(N, 3, 4)
NAMES = [f"ü{number}" for number in range(N)]


def plan(
    folder: Path, entry: str | Sequence[str], id_: str | None = None, cost: str | None = None
) -> tuple[ManifestInfo, Samples]:
    info = build_manifest(entry, folder / "manifest.arrow", id_, cost, folder=folder)
    return info, Samples(folder / "manifest.arrow", info.digests)


def told(folder: Path, entry: str, **columns: str) -> str:
    with pytest.raises(InputError) as caught:
        plan(folder, entry, **columns)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hdf5(folder: Path) -> Path:
    """A file of many kinds of datasets."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["features"] = FEATURES
        file.create_dataset("images", data=IMAGES, chunks=(64, 2, 4), compression="gzip")
        file["name"] = NAMES
        file["label"] = np.arange(N).astype(">i2")
        ragged = file.create_dataset("ragged", (N,), dtype=h5py.vlen_dtype("i4"))
        for row in range(N):
            ragged[row] = np.arange(row % 5)
        file["version"] = 3
        file["train/x"] = FEATURES[:10]
    return folder / "a.h5"


@pytest.fixture
def zarr(folder: Path) -> Path:
    """A store of the same."""
    library = pytest.importorskip("zarr")
    group = library.open_group(folder / "a.zarr", mode="w")
    group.create_array("features", data=FEATURES, chunks=(100, 5), shards=(200, 5))
    group.create_array("images", data=IMAGES, chunks=(64, 2, 4))
    group.create_array("name", shape=(N,), dtype=str, chunks=(100,))[:] = np.array(NAMES, object)
    group.create_array("label", data=np.arange(N).astype("i2"), chunks=(300,))
    group.create_group("train").create_array("x", data=FEATURES[:10])
    return folder / "a.zarr"


class TestHdf5Source(SourceTests):
    ids = ("a", "ü", "", "d", "e")

    def make(self, folder: Path) -> Source:
        with h5py.File(folder / "a.h5", "w") as file:
            file["id"] = list(self.ids)
            file["x"] = FEATURES[:5]
        return open_source("a.h5", folder, ())

    def take_away(self, folder: Path) -> None:
        (folder / "a.h5").write_bytes(b"nothing")


class TestZarrSource(TestHdf5Source):
    def make(self, folder: Path) -> Source:
        library = pytest.importorskip("zarr")
        group = library.open_group(folder / "a.zarr", mode="w")
        group.create_array("id", shape=(5,), dtype=str)[:] = np.array(self.ids, object)
        group.create_array("x", data=FEATURES[:5])
        return open_source("a.zarr", folder, ())

    def take_away(self, folder: Path) -> None:
        (folder / "a.zarr" / "zarr.json").write_text("nothing")


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_every_row_of_every_array_is_what_was_written(folder: Path, kind: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(kind)
    _, samples = plan(folder, path.name, "name")
    assert samples.columns.items() >= {"name": "string", "label": "int16", "features": f"in {kind}"}.items()
    for row, sample in enumerate(samples.rows(0, N)):
        assert (sample.id, sample["label"]) == (NAMES[row], row)
        assert np.array_equal(sample["features"], FEATURES[row])
        assert np.array_equal(sample["images"], IMAGES[row])
        if kind == "hdf5":
            assert np.array_equal(sample["ragged"], np.arange(row % 5))
        sample["features"][:] = 0  # it is the Job's own


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_a_group_and_some_of_its_arrays_can_be_named(folder: Path, kind: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue(kind).name
    for entry, columns, rows in (
        (f"{name}::train", ["x"], 10),
        (f"{name}::train/x", ["x"], 10),
        (f"{name}::features,label", ["features", "label"], N),
    ):
        info, samples = plan(folder, entry)
        assert (info.rows, [*info.columns]) == (rows, [*columns, kind])
        assert np.array_equal(next(samples.rows(9, 10))[columns[0]], FEATURES[9])


def test_an_array_that_is_a_store_by_itself_is_called_values(folder: Path) -> None:
    library = pytest.importorskip("zarr")
    library.create_array(folder / "b.zarr", data=FEATURES, chunks=(7, 5))
    _, samples = plan(folder, "b.zarr")
    assert np.array_equal([sample["values"] for sample in samples.rows(0, N)], FEATURES)


def test_files_in_a_list_are_one_manifest(folder: Path, hdf5: Path) -> None:
    with h5py.File(folder / "b.h5", "w") as file:
        file["x"] = FEATURES[10:30]
    info, samples = plan(folder, ["a.h5::train", "b.h5"])
    assert info.rows == 30
    assert np.array_equal([sample["x"] for sample in samples.rows(0, 30)], FEATURES[:30])


@settings(max_examples=25)
@given(chunk=st.integers(1, 40) | st.none(), rows=st.lists(st.integers(0, 99), max_size=30), cache=st.integers(0, 2000))
def test_rows_in_any_order_are_those_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, chunk: int | None, rows: list[int], cache: int
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=FEATURES[:100], chunks=chunk and (chunk, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_rows, "_blocks", BlockCache(cache))
        for row in rows:
            assert np.array_equal(array_rows.read_hdf5("x", row, str(path)), FEATURES[row])


def test_chunks_are_read_once_and_large_ones_not_as_a_whole(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("chunked", (1000, 100), "f8", chunks=(64, 10))
        file.create_dataset("plain", (1000, 100), "f8")
        file.create_dataset("huge", (1 << 20, 100), "f8", chunks=(1 << 17, 1))
        found = {name: array_rows.block_rows("hdf5", file[name]) for name in file}
    assert found == {"chunked": 64, "plain": 327, "huge": 1}


def test_blocks_that_are_kept_have_a_limit() -> None:
    cache, read = BlockCache(100), []

    def block(key: int) -> Any:
        return cache.get(key, lambda: read.append(key) or np.full(40, key, np.uint8))  # type: ignore[func-returns-value]

    for key in (0, 1, 0, 2, 0, 1):  # 2 pushes out 1, which 0 was asked for after
        assert block(key)[0] == key
    assert read == [0, 1, 2, 1]


def test_rows_of_any_length_count_with_what_they_hold() -> None:
    cache = BlockCache(100_000)
    for key in range(50):
        rows = np.empty(4, object)
        rows[:] = [np.zeros(1000, np.uint8), "x" * 1000, b"", None]
        cache.get(key, lambda rows=rows: rows)  # type: ignore[misc]
    assert len(cache._blocks) == 49


def test_what_a_job_does_to_a_row_is_not_seen_by_who_reads_it_again(folder: Path) -> None:
    kind = np.dtype([("a", "i4"), ("b", "f4", 3), ("c", h5py.vlen_dtype("i4"))])
    with h5py.File(folder / "a.h5", "w") as file:
        records = file.create_dataset("record", (5,), kind)
        for row in range(5):
            records[row] = (row, [row] * 3, np.arange(row))
        file.create_dataset("ragged", (5,), h5py.vlen_dtype("i4"))[3] = [1, 2]
    for _ in range(2):
        record = array_rows.read_hdf5("record", 3, str(folder / "a.h5"))
        ragged = array_rows.read_hdf5("ragged", 3, str(folder / "a.h5"))
        assert (record["a"], record["b"].tolist(), record["c"].tolist(), ragged.tolist()) == (
            3,
            [3] * 3,
            [0, 1, 2],
            [1, 2],
        )
        record["a"], ragged[0] = 77, 77
        record["b"][:] = record["c"][:] = 77


def test_threads_and_forks_read_each_for_itself(hdf5: Path) -> None:
    found: list[Any] = [None] * 8

    def read(number: int) -> None:
        rows = range(number, N, 8)
        found[number] = all(np.array_equal(array_rows.read_hdf5("images", row, str(hdf5)), IMAGES[row]) for row in rows)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    child = multiprocessing.get_context("fork").Process(target=_child, args=(str(hdf5),))
    child.start()
    child.join()
    assert child.exitcode == 0


def _child(path: str) -> None:
    assert array_rows._groups.cache_info().currsize == 0  # what the parent has open is not used
    assert np.array_equal(array_rows.read_hdf5("images", 5, path), IMAGES[5])


def test_arrays_with_other_numbers_of_rows_are_refused_with_their_shapes(folder: Path, hdf5: Path) -> None:
    with h5py.File(hdf5, "r+") as file:
        file["mean"] = FEATURES[0]
    message = told(folder, "a.h5")
    assert "its arrays have not as many rows (features [400, 5], images [400, 3, 4]" in message
    assert "a.h5::features" in message
    assert plan(folder, "a.h5::features,label")[0].rows == N


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("a.h5::featurs", "a.h5::featurs: there is no array 'featurs'; did you mean features?"),
        ("a.h5::nothing/x", "a.h5::nothing/x: cannot be read"),
        ("a.h5::version", "there is no array 'version'"),
        ("b.h5::x", "b.h5: no such file (data.manifest); did you mean a.h5?"),
        (
            "c.csv::x",
            "c.csv::x: nothing is named within such a file; :: stands behind .h5 and .hdf5 files and .zarr stores",
        ),
    ],
)
def test_what_is_not_there_is_told_with_what_is(folder: Path, hdf5: Path, entry: str, words: str) -> None:
    (folder / "c.csv").write_text("x\n1\n")
    assert told(folder, entry).startswith(words) or words in told(folder, entry)


def test_an_array_is_no_id_and_no_cost(folder: Path, hdf5: Path) -> None:
    """The numbers of rows, which stand in its place, would be taken for them."""
    assert "column 'features' cannot be data.id" in told(folder, "a.h5", id_="features")
    assert "column 'features' cannot be data.cost" in told(folder, "a.h5", cost="features")


def test_a_file_that_is_damaged_is_told(folder: Path, hdf5: Path) -> None:
    hdf5.write_bytes(hdf5.read_bytes()[:5000])
    assert told(folder, "a.h5").startswith("a.h5: cannot be read: ")


def test_text_that_is_none_is_told_with_its_row(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["name"] = np.array([b"a", b"\xff"])
    assert told(folder, "a.h5").startswith("a.h5: row 2: name is no UTF-8 text")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # zarr: others may not know such arrays
def test_bytes_in_zarr_stay_bytes(folder: Path) -> None:
    library = pytest.importorskip("zarr")
    group = library.open_group(folder / "a.zarr", mode="w")
    group.create_array("raw", shape=(2,), dtype="variable_length_bytes")[:] = np.array([b"abc", b"\xff"], object)
    group.create_array("fixed", data=np.array([b"abc", b"\xff"]))
    _, samples = plan(folder, "a.zarr")
    assert [(sample["raw"], sample["fixed"]) for sample in samples.rows(0, 2)] == [(b"abc", b"abc"), (b"\xff", b"\xff")]


def test_a_virtual_dataset_whose_files_are_missing_is_refused_not_filled(folder: Path) -> None:
    with h5py.File(folder / "part.h5", "w") as file:
        file["x"] = FEATURES
    with h5py.File(folder / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((N, 5), "f4")
        layout[:] = h5py.VirtualSource("part.h5", "x", (N, 5))
        file.create_virtual_dataset("x", layout)
    _, samples = plan(folder, "a.h5")
    assert np.array_equal(next(samples.rows(5, 6))["x"], FEATURES[5])
    array_rows._forget()
    (folder / "part.h5").unlink()
    with pytest.raises(OSError, match=r"is missing, of which x is made: .*part\.h5"):
        next(samples.rows(5, 6))["x"]
    assert "is missing, of which x is made" in told(folder, "a.h5")


def test_an_array_that_has_shrunk_gives_no_other_rows(folder: Path) -> None:
    for rows in (N, 10):
        with h5py.File(folder / "a.h5", "w") as file:
            file["x"] = FEATURES[:rows]
        if rows == N:
            _, samples = plan(folder, "a.h5")
    with pytest.raises(OSError, match=r"has 10 rows of x, and row 300 is asked for: it has changed"):
        next(samples.rows(300, 301))["x"]


def test_columns_are_numbers_texts_and_references(folder: Path, hdf5: Path) -> None:
    plan(folder, "a.h5")
    schema = pa.ipc.open_file(folder / "manifest.arrow").schema
    assert {field.name: str(field.type) for field in schema} == {
        "features": "int64",
        "images": "int64",
        "label": "int16",
        "name": "string",
        "ragged": "int64",
        "hdf5": "string",
    }
