"""Samples: the manifest's rows as an array task reads them, in whatever order and number it asks for them."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.samples import BATCH_ROWS, METADATA_KEY, Samples
from tests.support.builders import write_manifest

_ROWS = BATCH_ROWS + 1000
# Rows at both ends, and where a record batch of the file ends, are asked for often.
edges = st.sampled_from([0, 1, 255, 256, 257, BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1, _ROWS - 1])
spans = st.tuples(edges | st.integers(0, _ROWS - 1), st.sampled_from([0, 1, 2, 8, 256, 1000])).map(
    lambda pair: (pair[0], min(pair[0] + pair[1], _ROWS))
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("samples") / "manifest.arrow"
    write_manifest(path, {"id": [f"n{row}" for row in range(_ROWS)], "x": range(_ROWS)}, "id")
    return path


@given(asked=st.lists(spans, max_size=12))
def test_any_rows_in_any_order_are_those_of_the_manifest(manifest: Path, asked: list[tuple[int, int]]) -> None:
    samples = Samples(manifest)
    for start, stop in asked:
        found = [(sample.index, sample.id, sample["x"]) for sample in samples.rows(start, stop)]
        assert found == [(row, f"n{row}", row) for row in range(start, stop)]


@given(one=spans, other=spans)
def test_samples_that_are_kept_stay_what_they_were_while_others_are_read(
    manifest: Path, one: tuple[int, int], other: tuple[int, int]
) -> None:
    samples = Samples(manifest)
    kept = list(samples.rows(*one))
    for sample, another in zip(samples.rows(*other), samples.rows(*one), strict=False):
        assert sample["x"] == sample.index
        assert another["x"] == another.index
    assert [sample["x"] for sample in kept] == list(range(*one))


def test_a_column_that_is_not_there_is_told_with_those_that_are(manifest: Path) -> None:
    sample = next(Samples(manifest).rows(0, 1))
    with pytest.raises(KeyError, match=r"'y' is no column of this sample, which has id, x"):
        sample["y"]
    assert sample.get("y", 7) == 7


def test_a_probe_reads_the_numbers_that_rows_have_in_the_whole_manifest(tmp_path: Path) -> None:
    origins = list(range(0, 3000, 3))
    metadata = {METADATA_KEY: json.dumps({"id": None, "origins": origins}).encode()}
    table = pa.table({"x": np.array(origins)}).replace_schema_metadata(metadata)
    with pa.ipc.new_file(str(tmp_path / "some.arrow"), table.schema) as writer:
        writer.write_table(table)
    samples = Samples(tmp_path / "some.arrow")
    for start in range(0, 1000, 8):
        assert [(s.index, s["x"]) for s in samples.rows(start, start + 8)] == [
            (n, n) for n in origins[start : start + 8]
        ]


def test_large_rows_are_not_read_ahead(tmp_path: Path) -> None:
    text = ["x" * 10_000 + str(row) for row in range(1000)]
    write_manifest(tmp_path / "manifest.arrow", {"text": text}, None)
    samples = Samples(tmp_path / "manifest.arrow")
    (first, *_) = samples.rows(0, 8)
    tracemalloc.start()
    assert first["text"] == text[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 10_000 + 100_000
    assert [sample["text"] for sample in samples.rows(5, 300)] == text[5:300]


def test_what_a_job_does_to_the_lists_of_a_sample_is_gone_when_that_is_read_again(tmp_path: Path) -> None:
    rows = [{"tokens": [row], "box": {"x": row}} for row in range(300)]
    write_manifest(tmp_path / "manifest.arrow", {"row": rows}, None)
    samples = Samples(tmp_path / "manifest.arrow")
    for start, stop in [(0, 8), (0, 4), (4, 8), (2, 3), (8, 300), (290, 300), (0, 300)]:
        for sample, expected in zip(samples.rows(start, stop), rows[start:stop], strict=True):
            assert sample["row"] == expected
            sample["row"]["tokens"].append(-1)
            sample["row"]["box"].clear()


@pytest.mark.parametrize("ids", [[f"n{row}" for row in range(9)], list(range(9)), [row / 2 for row in range(9)]])
def test_a_row_is_found_by_its_id(tmp_path: Path, ids: list[object]) -> None:
    write_manifest(tmp_path / "manifest.arrow", {"id": ids}, "id")
    samples = Samples(tmp_path / "manifest.arrow")
    assert [samples.find(str(one)) for one in ids] == [[row] for row in range(9)]
    assert samples.find("n") == []


def test_ids_that_are_row_numbers_are_found_in_each_manifest(tmp_path: Path, manifest: Path) -> None:
    assert Samples(manifest).find(f"n{BATCH_ROWS}") == [BATCH_ROWS]
    parts = {METADATA_KEY: json.dumps({"id": None, "parts": [["a", 0], ["none", 5], ["b", 5]]}).encode()}
    table = pa.table({"x": range(12)}).replace_schema_metadata(parts)
    with pa.ipc.new_file(str(tmp_path / "parts.arrow"), table.schema) as writer:
        writer.write_table(table)
    samples = Samples(tmp_path / "parts.arrow")
    assert [samples.find(name) for name in ("0", "4", "6", "7", "x")] == [[0, 5], [4, 9], [11], [], []]
    assert [samples.name(row) for row in samples.find("4")] == ["4 (of a)", "9 (4 of b)"]
