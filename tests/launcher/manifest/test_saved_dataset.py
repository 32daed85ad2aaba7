"""Folders of Hugging Face datasets as manifests: numbers are columns, what is larger tasks read where it lies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.errors import InputError
from jobs.storage.samples import Samples
from launcher.manifest.formats import open_source
from launcher.manifest.manifest import build_manifest
from launcher.manifest.sources import Source
from tests.launcher.manifest.source_tests import SourceTests

TEXTS = [f"text {number} ü" * (number % 7) for number in range(100)]
TABLE = pa.table(
    {
        "id": pa.array([str(number) for number in range(100)], pa.large_string()),
        "label": pa.array(range(100), pa.int32()),
        "text": pa.array(TEXTS, pa.large_string()),
        "image": pa.array([{"bytes": bytes([number]), "path": None} for number in range(100)]),
        "tokens": pa.array([list(range(number % 4)) or None for number in range(100)]),
    }
)


def save(folder: Path, table: pa.Table, files: int = 3, batch: int = 7) -> None:
    """As `save_to_disk` does: streams of small record batches."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = [table.num_rows * number // files for number in range(files + 1)]
    names = [f"data-{number:05d}-of-{files:05d}.arrow" for number in range(files)]
    for name, start, stop in zip(names, bounds, bounds[1:], strict=False):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.slice(start, stop - start), max_chunksize=batch)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def plan(folder: Path, entry: str, id_: str | None = None) -> Samples:
    info = build_manifest(entry, folder / "manifest.arrow", id_, None, folder=folder)
    return Samples(folder / "manifest.arrow", info.digests)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestSavedDataset(SourceTests):
    ids = ("0", "1", "2", "3", "4")

    def make(self, folder: Path) -> Source:
        save(folder / "ds", TABLE.slice(0, 5), files=2, batch=2)
        return open_source("ds", folder, ("id",))

    def take_away(self, folder: Path) -> None:
        (folder / "ds" / "data-00001-of-00002.arrow").unlink()


def test_every_cell_is_what_was_saved(folder: Path) -> None:
    save(folder / "ds", TABLE)
    samples = plan(folder, "ds", "id")
    assert samples.columns == {
        "id": "string",
        "label": "int32",
        "text": "in arrow",
        "image": "in arrow",
        "tokens": "in arrow",
        "arrow": "string",
    }
    for row, sample in enumerate(samples.rows(0, 100)):
        assert {name: sample[name] for name in TABLE.column_names} == TABLE.slice(row, 1).to_pylist()[0]


def test_texts_are_not_copied_into_the_plan(folder: Path) -> None:
    save(folder / "ds", pa.table({"text": ["x" * 100_000] * 100}))
    assert next(plan(folder, "ds").rows(99, 100))["text"] == "x" * 100_000
    assert (folder / "manifest.arrow").stat().st_size < 20_000


def test_several_splits_are_named_for_data_manifest(folder: Path) -> None:
    for split in ("train", "test"):
        save(folder / "dd" / split, TABLE)
    (folder / "dd" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match=r"dd: has several splits; .*\{test: dd/test, train: dd/train\}"):
        plan(folder, "dd")
    assert len(plan(folder, "dd/train")) == 100


@pytest.mark.parametrize("damage", ["state", "shorter", "column"])
def test_what_has_changed_is_told(folder: Path, damage: str) -> None:
    save(folder / "ds", TABLE)
    samples = plan(folder, "ds")
    if damage == "state":
        (folder / "ds" / "state.json").write_text('{"_data_files": 1}')
        with pytest.raises(InputError, match="ds: cannot be read"):
            plan(folder, "ds")
        return
    save(folder / "ds", TABLE.slice(0, 10) if damage == "shorter" else TABLE.drop_columns(["text"]))
    with pytest.raises(OSError, match=r"does not have row 32 of text: it has changed since the run was planned"):
        next(samples.rows(98, 99))["text"]


@pytest.mark.parametrize(
    "more",
    [
        {"_indices_data_files": [{"filename": "indices.arrow"}]},
        {"_data_files": [{"filename": "x", "skip": 3, "take": 5}]},
    ],
)
def test_rows_that_an_old_version_had_selected_are_not_forgotten(folder: Path, more: dict[str, Any]) -> None:
    save(folder / "ds", TABLE)
    state = json.loads((folder / "ds" / "state.json").read_text())
    (folder / "ds" / "state.json").write_text(json.dumps({**state, **more}))
    with pytest.raises(InputError, match="ds: an old version of datasets has saved which of its rows count"):
        plan(folder, "ds")


def test_a_folder_that_datasets_has_written_is_read_as_datasets_reads_it(folder: Path) -> None:
    datasets: Any = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "m": datasets.Array2D((2, 2), "float32")})
    columns = {"text": TEXTS, "m": [np.full((2, 2), number).tolist() for number in range(100)]}
    dataset = datasets.Dataset.from_dict(columns, features=features).select(range(99, -1, -1))
    dataset.save_to_disk("ds", num_shards=3)
    for row, sample in enumerate(plan(folder, "ds").rows(0, 100)):
        assert {"text": sample["text"], "m": sample["m"]} == dataset[row]
