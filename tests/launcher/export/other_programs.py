"""Other programs open an export as their own (run by test_other_programs.py); those that are not installed are skipped."""

from pathlib import Path

import numpy as np
import pytest

from jobs.storage.rundir import RunDir
from launcher import results
from launcher.export.export import export
from tests.support.builders import build_books, everything

ROWS = 64
BAD = [3, 16, 17]
OK = [row for row in range(ROWS) if row not in BAD]
EXPECTED = everything(np.arange(ROWS))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return build_books(tmp_path_factory.mktemp("runs"), ROWS, BAD)


@pytest.fixture(scope="module")
def parquet(run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "parquet"
    with results.open(run.path) as found:
        export(found, folder, "parquet", rows_per_file=20)
    return folder


def test_pandas_reads_parquet(parquet: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(parquet)
    table = table[table.status == 1]
    assert table.id.tolist() == [f"böok {row}" for row in OK]
    np.testing.assert_array_equal(np.stack(list(table.vector)), EXPECTED["vector"][OK])


def test_polars_reads_parquet(parquet: Path) -> None:
    polars = pytest.importorskip("polars")
    table = polars.scan_parquet(parquet / "*.parquet").filter(polars.col("status") == 1).collect()
    assert table["text"].to_list() == [EXPECTED["text"][row] for row in OK]
    np.testing.assert_array_equal(table["vector"].to_numpy(), EXPECTED["vector"][OK])


def test_duckdb_reads_parquet(parquet: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.sql(
        f"select id, label, len(tokens) from '{parquet}/*.parquet' where status = 1 order by label"
    ).fetchall()
    assert rows == [(f"böok {row}", EXPECTED["label"][row], len(EXPECTED["tokens"][row])) for row in OK]


def test_datasets_reads_parquet(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = sorted(map(str, parquet.glob("*.parquet")))
    found = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path), split="train")
    assert found.filter(lambda sample: sample["status"] == 1)["text"][:] == [EXPECTED["text"][row] for row in OK]


def test_lance_looks_for_the_nearest_vectors_in_its_dataset(run: RunDir, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    with results.open(run.path) as found:
        export(found, tmp_path / "books.lance", "lance", rows_per_file=20)
    dataset = lance.dataset(tmp_path / "books.lance")
    assert dataset.version == 1
    assert dataset.count_rows("status = 1") == len(OK)
    nearest = {"column": "vector", "q": EXPECTED["vector"][40], "k": 1}
    assert dataset.to_table(nearest=nearest)["id"].to_pylist() == ["böok 40"]


def test_zarr_reads_a_row_of_text(run: RunDir, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    with results.open(run.path) as found:
        export(found, tmp_path / "books.zarr", "zarr")
    text = zarr.open_group(tmp_path / "books.zarr", mode="r")["text"]
    first, stop = text["offsets"][7:9]
    assert bytes(text["values"][first:stop]).decode() == EXPECTED["text"][7]
