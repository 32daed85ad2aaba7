"""Values: a table is the same from every format, cell by cell, through the planner's manifest and the samples of a task."""

import csv
import datetime as dt
import gzip
import json
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.storage.samples import Samples
from launcher.manifest.manifest import build_manifest

Row: TypeAlias = dict[str, Any]

ODD = "1.10 007 1E2 1e5 TRUE true +5 2.50 -0 1_000 1234567890123456789 18446744073709551615 0x1A Infinity ' \\ ; ï»¿ #"
characters = st.characters(codec="utf-8", exclude_characters="\0")
texts = st.sampled_from([*ODD.split(), "a;b", 'say "hi"', "two\nlines", "cr\r", "tab\t", " x ", ",", '"', '""', "é"])
codes = texts | st.text(characters, min_size=1, max_size=6)
columns = {
    "text": codes,
    "whole": st.integers(-(10**18) + 1, 10**18 - 1),
    "part": st.floats(allow_nan=False),
    "flag": st.booleans(),
}
rows = st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=12)


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: list[Row]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=number % 2 == 0) + "\n" for number, row in enumerate(rows))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_parquet(path: Path, rows: list[Row]) -> None:
    table = pa.Table.from_pylist(rows)
    words = table["text"].combine_chunks().dictionary_encode()
    path.mkdir()
    for part, start in enumerate(range(0, len(rows), 7)):
        encoded = table.drop_columns(["text"]).append_column("text", words).slice(start, 7)
        pq.write_table(encoded, path / f"{part}.parquet", row_group_size=2)


WRITERS = {"a.csv": write_csv, "a.jsonl": write_jsonl, "b.ndjson.gz": write_jsonl, "folder": write_parquet}


def samples(source: str, folder: Path) -> list[Row]:
    info = build_manifest(source, folder / "manifest.arrow", None, None, folder=folder)
    return [dict(sample) for sample in Samples(folder / "manifest.arrow").rows(0, info.rows)]


def told_apart(rows: list[Row]) -> list[list[tuple[str, str]]]:
    """Values by name and spelling: 1, 1.0 and True are equal, and so are 0.0 and -0.0."""
    return [sorted((name, repr(value)) for name, value in row.items()) for row in rows]


@given(rows)
def test_every_format_gives_the_values_that_were_written(rows: list[Row]) -> None:
    table = [*rows, {"text": "x", "whole": 1, "part": 0.5, "flag": True}]
    with tempfile.TemporaryDirectory() as name:
        for source, write in WRITERS.items():
            write(Path(name) / source, table)
            assert told_apart(samples(source, Path(name))) == told_apart(table), source


@given(st.lists(st.tuples(codes, st.integers() | st.floats() | codes), min_size=1, max_size=12))
def test_a_csv_cell_prints_as_it_is_written_or_is_none(cells: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_csv(Path(name) / "a.csv", [{"id": str(key), "v": str(value)} for key, value in cells])
        for found, (key, value) in zip(samples("a.csv", Path(name)), cells, strict=True):
            assert found["v"] is None or str(found["v"]) == str(value)
            assert found["id"] is None or str(found["id"]) == key


@given(st.lists(codes.filter(lambda text: "\n" not in text), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_a_line_of_a_txt_file_is_a_sample(lines: list[str], end: str) -> None:
    lines = [*(line.removesuffix("\r").removeprefix("\ufeff") for line in lines), "", "last"]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a.txt").write_bytes(end.join(lines).encode())
        assert samples("a.txt", Path(name)) == [{"text": line} for line in lines]


def test_a_txt_file_that_is_not_utf8_has_its_line_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"a.txt:3: not UTF-8 text \(byte 0xe9\)"):
        samples("a.txt", tmp_path)


@pytest.fixture(params=["list", "struct", "plain"])
def dictionaries(request: pytest.FixtureRequest) -> pa.Array:
    words = pa.array(["a", "b", None, "a", "c"]).dictionary_encode()
    return {
        "list": pa.ListArray.from_arrays([0, 1, 3, 3, 5], words),
        "struct": pa.StructArray.from_arrays([words], ["k"]),
        "plain": words,
    }[request.param]


def test_dictionaries_in_several_row_groups_are_read(tmp_path: Path, dictionaries: pa.Array) -> None:
    pq.write_table(pa.table({"v": dictionaries}), tmp_path / "a.parquet", row_group_size=2)
    assert [row["v"] for row in samples("a.parquet", tmp_path)] == dictionaries.to_pylist()


def refusals(folder: Path) -> Iterator[tuple[str, str]]:
    """Files with a cell that cannot be read, and what is said."""
    latin = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xe9"))
    with (
        pa.OSFile(str(folder / "a.arrow"), "wb") as file,
        pa.ipc.new_file(file, pa.schema([("v", pa.string())])) as new,
    ):
        new.write_table(pa.table({"v": latin}))
    yield "a.arrow", r"a.arrow: row 2: column 'v' is string, and no value of Python's: .*decode byte 0xe9"
    pq.write_table(pa.table({"v": pa.array([0, 0, 10**15]).cast(pa.timestamp("ms"))}), folder / "a.parquet")
    yield "a.parquet", r"a.parquet: row 3: column 'v' is timestamp\[ms\], and no value of Python's"
    for name, cut in (("a.csv.gz", gzip.compress(b"a,b\n" * 99)[:-9]), ("b.jsonl.zst", b"no zstd at all")):
        (folder / name).write_bytes(cut)
        yield name, f"{name}: cannot be read: "


def test_what_cannot_be_read_is_refused_with_its_place(tmp_path: Path) -> None:
    for source, message in refusals(tmp_path):
        with pytest.raises(InputError, match=message):
            samples(source, tmp_path)


DAY = dt.datetime(2020, 1, 1)
BENT = [
    (pa.array([1]), pa.array(["007"])),
    (pa.array([1]), pa.array([DAY])),
    (pa.array([1]), pa.array([2.5])),
    (pa.array([1]), pa.array([-0.0])),
    (pa.array([True]), pa.array([5])),
    (pa.array(["x"]), pa.array([1.0])),
    (pa.array([1.5]), pa.array([Decimal("0.12345678901234567890")])),
    (pa.array([1.5]), pa.array([2**53 + 1])),
    (pa.array([1.5], pa.float32()), pa.array([0.1])),
    (pa.array([1.5], pa.float32()), pa.array([1e300])),
    (pa.array([DAY.date()]), pa.array([DAY.replace(hour=12)])),
    (pa.array([DAY]), pa.array([5])),
    (pa.array([DAY], pa.timestamp("us")), pa.array([DAY], pa.timestamp("us", "America/New_York"))),
    (pa.array([DAY], pa.timestamp("s")), pa.array([DAY.replace(microsecond=1)])),
    (pa.array([[1]]), pa.array([["007"]])),
    (pa.array([[]], pa.list_(pa.null())), pa.array([[1]])),
    (pa.array([{"a": 1}]), pa.array([{"a": 1, "b": 2}])),
    (pa.nulls(1), pa.array([1])),
]


def gone_on(folder: Path, before: pa.Array, after: pa.Array) -> list[Any]:
    """The values of a column that is to have the type that it had before."""
    pq.write_table(pa.table({"v": before}), folder / "a.parquet")
    pq.write_table(pa.table({"v": after}), folder / "b.parquet")
    build_manifest("a.parquet", folder / "a.arrow", None, None, folder=folder)
    like = pa.ipc.open_file(str(folder / "a.arrow")).schema
    info = build_manifest("b.parquet", folder / "b.arrow", None, None, folder=folder, like=like)
    return [row["v"] for row in Samples(folder / "b.arrow").rows(0, info.rows)]


@pytest.mark.parametrize(("before", "after"), BENT, ids=lambda array: str(array.type))
def test_a_value_that_would_become_another_one_in_its_column_is_refused(
    folder: Path, before: pa.Array, after: pa.Array
) -> None:
    with pytest.raises(InputError, match=r"b\.parquet.*write it with one type"):
        gone_on(folder, before, after)


def test_what_stays_the_same_value_goes_on_with_the_type_of_before(folder: Path) -> None:
    nan = float("nan")
    kept = [
        (pa.array([1], pa.int32()), [2**31 - 1, None]),
        (pa.array([1.5], pa.float32()), [0.5, nan, None]),
        (pa.array([1.5]), [7, 2**53]),
        (pa.array([1]), [7.0, None]),
        (pa.array(["x"]), [None]),
        (pa.array([DAY], pa.timestamp("s")), [DAY]),
        (pa.array([{"a": 1, "b": 2}]), [{"a": 3}]),
    ]
    for before, values in kept:
        found = gone_on(folder, before, pa.array(values))
        assert [repr(value) for value in found] == [
            repr(value) for value in pa.array(values).cast(before.type).to_pylist()
        ]


@pytest.mark.parametrize(
    "cells", ["007,0.5,True", "0x1,0.5,True", "7,1.10,True", "7,1e5,True", "7,7,True", "7,0.5,true", "7,0.5,0"]
)
def test_a_cell_of_text_that_does_not_print_back_does_not_go_on_with_a_column(folder: Path, cells: str) -> None:
    (folder / "a.csv").write_text("n,f,b\n1,0.5,True\n")
    build_manifest("a.csv", folder / "a.arrow", None, None, folder=folder)
    like = pa.ipc.open_file(str(folder / "a.arrow")).schema
    (folder / "b.csv").write_text(f"n,f,b\nNA,2.0,False\n{cells}\n")
    with pytest.raises(InputError, match=r"b\.csv.*write it with one type"):
        build_manifest("b.csv", folder / "b.arrow", None, None, folder=folder, like=like)
    (folder / "b.csv").write_text("n,f,b\nNA,2.0,False\n7,,True\n")
    build_manifest("b.csv", folder / "b.arrow", None, None, folder=folder, like=like)
    assert [dict(row) for row in Samples(folder / "b.arrow").rows(0, 2)] == [
        {"n": None, "f": 2.0, "b": False},
        {"n": 7, "f": None, "b": True},
    ]
