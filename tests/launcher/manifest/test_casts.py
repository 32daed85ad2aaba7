"""Columns as other types: fields of which nothing but null is known, at any depth, in each format and beside other files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from launcher.manifest.casts import exactly
from launcher.manifest.manifest import build_manifest

CELLS: list[Any] = [
    [None, None],
    [None, None, [None, None, None]],
    [{"a": [None, None]}],
    [None, {"b": None}],
    [{"b": None}, None],
    {"b": [None, {"c": None}]},
    [[None], [{"b": None}]],
    [None, {"b": {"c": None}}, {"b": None}],
    [{"b": None, "c": 1}, None, {"b": None, "c": 2}],
]


def read(folder: Path, *names: str) -> list[Any]:
    """The cells of the manifest of these files."""
    build_manifest(list(names), folder / "manifest.arrow", None, None, folder=folder)
    table = pa.ipc.open_file(folder / "manifest.arrow").read_all()
    table.validate(full=True)
    return [*table.column("a").to_pylist()]


@pytest.mark.parametrize("cell", CELLS, ids=json.dumps)
def test_a_cell_with_objects_of_nothing_but_nulls_is_read_as_it_is_written(tmp_path: Path, cell: Any) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": cell}) + "\n")
    assert read(tmp_path, "a.jsonl") == [cell]


@pytest.mark.parametrize("cell", CELLS, ids=json.dumps)
@pytest.mark.parametrize("way", [pa.list_, pa.large_list])
def test_an_arrow_file_may_name_items_as_it_likes(tmp_path: Path, way: Any, cell: Any) -> None:
    inner = pa.array([cell]).type
    table = pa.table({"a": pa.array([[cell], None, [cell, cell]], way(pa.field("element", inner)))})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert read(tmp_path, "a.arrow") == [[cell], None, [cell, cell]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"b": None, "c": 3}, {"b": "x", "c": 4}),
        ([None], ["x"]),
        ([{"b": None}, {"b": None}], [{"b": "x"}, None]),
        ([{"b": None, "c": 3}], [{"b": [1], "c": 0.5}]),
        ([{"b": None}], [{"b": {"c": 1}}]),
    ],
    ids=repr,
)
def test_what_is_null_in_one_file_is_of_the_type_that_it_has_in_another(
    tmp_path: Path, first: Any, second: Any
) -> None:
    for name, cell in (("a.jsonl", first), ("b.jsonl", second)):
        (tmp_path / name).write_text(json.dumps({"a": cell}) + "\n")
    assert read(tmp_path, "a.jsonl", "b.jsonl") == [first, second]


def test_a_value_is_never_made_null() -> None:
    with pytest.raises(pa.ArrowInvalid):
        exactly(pa.array([{"b": "x"}]), pa.struct([("b", pa.null())]))
