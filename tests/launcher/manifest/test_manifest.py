"""Manifest: every kind of source becomes the same Arrow file, in constant memory; what is broken is named."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.storage.records import Part
from jobs.storage.samples import BATCH_ROWS, Samples
from launcher.manifest import checks, csv_source, jsonl_source
from launcher.manifest.fingerprint import Fingerprint
from launcher.manifest.manifest import ManifestInfo, build_manifest, read_costs

ROWS = [("007", "b/x.jpg", 3), ("a,b", 'say "hi"\nthere', 0), ("ü", "", 12)]
TABLE = pa.table(
    {
        "id": pa.array([row[0] for row in ROWS]),
        "path": pa.array([row[1] for row in ROWS]),
        "size": pa.array([row[2] for row in ROWS], pa.int64()),
    }
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text files in many blocks, as large ones are."""
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 256)
    monkeypatch.setattr(jsonl_source, "BLOCK_BYTES", 256)


def write_csv(path: Path, rows: list[tuple[Any, ...]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def write_ipc(path: Path, table: pa.Table, stream: bool = False) -> None:
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000 if table.num_rows > 1000 else 2)


def write_source(kind: str, folder: Path, table: pa.Table = TABLE) -> str:
    """The table as a file of that kind."""
    rows = table.to_pylist()
    path = folder / f"table.{kind.removesuffix('-stream')}"
    if kind in ("csv", "tsv"):
        write_csv(
            path,
            [tuple(table.column_names), *(tuple(row.values()) for row in rows)],
            "\t" if kind == "tsv" else ",",
        )
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(table, path, row_group_size=1000 if table.num_rows > 1000 else 2)
    else:
        write_ipc(path, table, kind.endswith("stream"))
    return path.name


def build(*sources: str, ids: str | None = None, cost: str | None = None) -> ManifestInfo:
    return build_manifest(sources, Path("manifest.arrow"), ids, cost)


def read() -> pa.Table:
    with pa.OSFile("manifest.arrow") as file:
        return pa.ipc.open_file(file).read_all()


def refused(*sources: str, ids: str | None = None, cost: str | None = None) -> str:
    """The message; a refused manifest leaves no file behind."""
    before = set(os.listdir())
    with pytest.raises(InputError) as caught:
        build(*sources, ids=ids, cost=cost)
    assert set(os.listdir()) == before
    return str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "arrow", "arrow-stream"])
def test_every_kind_of_table_gives_the_same_rows_and_fingerprint(folder: Path, kind: str) -> None:
    name = write_source(kind, folder)
    info = build(name, ids="id", cost="size")
    assert read().to_pylist() == TABLE.to_pylist()
    assert info.rows == 3
    assert info.columns == ("id", "path", "size")
    assert info.id == "id"
    (source,) = info.sources
    status = (folder / name).stat()
    assert (source.path, source.rows, source.size, source.mtime) == (
        str(folder / name),
        3,
        status.st_size,
        status.st_mtime,
    )
    reference = Fingerprint(TABLE.schema)
    reference.update(TABLE.combine_chunks().to_batches()[0])
    assert info.fingerprint == reference.hexdigest()


def test_array_tasks_read_the_rows_and_ids_of_the_manifest(folder: Path) -> None:
    build(write_source("csv", folder), ids="id")
    samples = list(Samples(Path("manifest.arrow")).rows(1, 3))
    assert [(sample.index, sample.id, sample["size"]) for sample in samples] == [(1, "a,b", 0), (2, "ü", 12)]


def test_without_an_id_column_the_row_number_is_the_id(folder: Path) -> None:
    info = build(write_source("parquet", folder))
    assert info.id is None
    assert read().column_names == ["id", "path", "size"]
    assert json.loads(read().schema.metadata[b"launcher"]) == {"id": None, "rows": 3}
    assert [sample.id for sample in Samples(Path("manifest.arrow")).rows(0, 3)] == ["0", "1", "2"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow"])
def test_row_i_lies_in_batch_i_over_65536(folder: Path, kind: str) -> None:
    rows = 2 * BATCH_ROWS + 5
    name = write_source(kind, folder, pa.table({"n": pa.array(np.arange(rows))})) if kind != "arrow" else "x.arrow"
    if kind == "arrow":
        write_ipc(folder / name, pa.table({"n": pa.array(np.arange(rows))}).slice(0))
    build(name)
    with pa.OSFile("manifest.arrow") as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 5]
    assert np.array_equal(np.concatenate([batch.column(0).to_numpy() for batch in batches]), np.arange(rows))


def test_several_sources_are_one_manifest_in_the_order_of_the_list(folder: Path) -> None:
    write_csv(folder / "a.csv", [("id", "n"), ("1", "1")])
    pq.write_table(pa.table({"n": pa.array([2.5]), "id": pa.array([2])}), "b.parquet")
    (folder / "c.jsonl").write_text('{"id": 3, "n": 4}\n')
    info = build("b.parquet", "a.csv", "c.jsonl", ids="id")
    assert read().to_pylist() == [{"n": 2.5, "id": "2"}, {"n": 1.0, "id": "1"}, {"n": 4.0, "id": "3"}]
    assert [source.rows for source in info.sources] == [1, 1, 1]


def test_a_source_is_not_there_twice_but_in_several_manifests(folder: Path) -> None:
    write_csv(folder / "a.csv", [("n",), ("1",)])
    with pytest.raises(InputError, match=r"a\.csv: is there twice among the sources of one manifest"):
        build("a.csv", "./a.csv")
    assert build_manifest({"x": ["a.csv"], "y": ["a.csv"]}, folder / "both.arrow", None, None, folder=folder).rows == 2


def test_a_csv_column_that_is_text_in_one_part_is_text_in_all(folder: Path) -> None:
    write_csv(folder / "a.csv", [("n", "m"), ("01", ""), ("2", "")])
    write_csv(folder / "b.csv", [("n", "m"), ("x", "7"), ("", "NA")])
    write_csv(folder / "c.csv", [("n", "m"), ("3", "")])
    build("a.csv", "b.csv", "c.csv")
    assert read().to_pydict() == {"n": ["01", "2", "x", "", "3"], "m": [None, None, 7, None, None]}


def test_a_part_without_rows_adds_nothing(folder: Path) -> None:
    write_csv(folder / "a.csv", [("n",)])
    (folder / "b.jsonl").write_text("")
    write_csv(folder / "c.csv", [("n",), (3,)])
    assert build("a.csv", "b.jsonl", "c.csv").rows == 1


def test_an_earlier_manifest_can_be_a_source(folder: Path) -> None:
    first = build(write_source("csv", folder), ids="id")
    os.rename("manifest.arrow", "old.arrow")
    assert build("old.arrow", ids="id").fingerprint == first.fingerprint


# --- what CSV values become


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", "0"], [1, -2, 0]),
        (["1", "NA", ""], [1, None, None]),
        (["1.0", "2.5", "1e-05", "NA", "-inf"], [1.0, 2.5, 1e-05, None, float("-inf")]),
        (["True", "", "False"], [True, None, False]),
        (["True", "1"], ["True", "1"]),
        (["true", "TRUE"], ["true", "TRUE"]),
        (["1", "2.5"], ["1", "2.5"]),
        (["2.50", "2.5"], ["2.50", "2.5"]),
        (["1E2", "1.0"], ["1E2", "1.0"]),
        (["+5", "5"], ["+5", "5"]),
        (["-0", "1"], ["-0", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
        (["1234567890123456789", "1"], ["1234567890123456789", "1"]),
        (["007", "8"], ["007", "8"]),
        (["0x1A", "1"], ["0x1A", "1"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["1234567890123456", "1.5"], ["1234567890123456", "1.5"]),
        (["2024-01-01", "2024-01-02"], ["2024-01-01", "2024-01-02"]),
        (["", "NA"], ["", "NA"]),
        (["a", ""], ["a", ""]),
        ([" 1", "2"], [" 1", "2"]),
    ],
)
def test_csv_columns_are_numbers_only_where_no_value_changes(
    folder: Path, values: list[str], expected: list[Any]
) -> None:
    write_csv(folder / "a.csv", [("k", "v"), *(("x", value) for value in values)])
    build("a.csv")
    assert read()["v"].to_pylist() == expected


def test_a_csv_column_that_turns_into_text_late_is_text(folder: Path, small_blocks: None) -> None:
    write_csv(folder / "a.csv", [("id", "v"), *((f"{n:04}", n) for n in range(1000)), ("x", "late")])
    build("a.csv", ids="id")
    assert read()["v"].to_pylist() == [*map(str, range(1000)), "late"]
    assert read()["id"].to_pylist()[:2] == ["0000", "0001"]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=20))
def test_any_text_survives_csv_and_jsonl(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = [(f"i{number}", *row, "text") for number, row in enumerate(rows)]
        names = ("id", "a", "b", "c")
        with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, ("i", "text", "text", "text"), *text])
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in [("i", "text", "text", "text"), *text]]
        (folder / "a.jsonl").write_text("\n".join(lines))
        for source in ("a.csv", "a.jsonl"):
            build_manifest(source, folder / "m.arrow", "id", None, folder=folder)
            with pa.OSFile(str(folder / "m.arrow")) as file:
                table = pa.ipc.open_file(file).read_all()
            assert [tuple(row.values()) for row in table.to_pylist()[1:]] == text


def test_a_byte_order_mark_is_no_part_of_the_first_column(folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"\xef\xbb\xbfid,v\n1,2\n")
    (folder / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "1", "v": 2}\n')
    assert build("a.csv", "a.jsonl").columns == ("id", "v")


# --- JSON Lines


def test_jsonl_types_are_those_of_all_rows(folder: Path, small_blocks: None) -> None:
    rows: list[dict[str, Any]] = [{"a": n, "d": "2024-01-01", "l": []} for n in range(50)]
    rows += [{"a": 0.5, "d": "some day", "l": [1], "late": {"x": "y"}}, {"d": None}]
    (folder / "a.jsonl").write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    build("a.jsonl")
    table = read()
    assert table["a"].to_pylist() == [*map(float, range(50)), 0.5, None]
    assert table["d"].to_pylist() == ["2024-01-01"] * 50 + ["some day", None]
    assert table["l"].to_pylist() == [[]] * 50 + [[1], None]
    assert table["late"].to_pylist() == [None] * 50 + [{"x": "y"}, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "a.jsonl:104: row 102: must be one JSON object on one line: "),
        ("[1]", "a.jsonl:104: row 102: must be one JSON object on one line, such as "),
        ('{"a": "x"}', "a.jsonl:104: row 102: Column(/a) changed from number to string; write"),
        (r'{"a\nb": 1, "a\nb": 2}', "a.jsonl:104: row 102: Column(/a\nb) was specified twice"),
        ('{"a": 1} {"a": 2}', "a.jsonl:104: row 102: must be one JSON object on one line: extra data in column 10"),
        ('{"a": 1}{"a": 2}\n{"a":\n3}', "a.jsonl:104: row 102: must be one JSON object on one line"),
        ('{"a": {"b": 1}\n}', "a.jsonl:104: row 102: must be one JSON object on one line"),
        ('{"a": 1} text', "a.jsonl:104: row 102: must be one JSON object on one line: extra data in column 10"),
        ('{"a": 1} text {"a": 2}', "a.jsonl:104: row 102: must be one JSON object on one line: extra data"),
        ('{"a": 1, "a": 2}', "a.jsonl:104: row 102: Column(/a) was specified twice"),
        ('{"b": "cut \\ud83d"}', r"a.jsonl:104: row 102: holds \ud83d alone, half of a character"),
        ('{"b": ' + "[" * 200 + "]" * 200 + "}", "a.jsonl:104: row 102: is nested over 60 deep"),
        ("[" * 100_000, "a.jsonl:104: row 102: is nested over 60 deep"),
        (
            '{"a": 18446744073709551615}',
            "a.jsonl:104: row 102: column 'a': 18446744073709551615 is beyond an int64",
        ),
        (
            '{"a": ' + "9" * 200 + "}",
            f"a.jsonl:104: row 102: column 'a': {'9' * 40}... is beyond an int64",
        ),
        ('{"a": \ud800}', "a.jsonl:104: not UTF-8 text (byte 0xed)"),
    ],
)
def test_a_broken_json_line_is_named(folder: Path, small_blocks: None, line: str, message: str) -> None:
    lines = ['{"a": 1}'] * 50 + ["", "  "] + ['{"a": 2}'] * 51 + [line] + ['{"a": 3}'] * 5
    (folder / "a.jsonl").write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    assert refused("a.jsonl").startswith(message)


def test_a_whole_number_that_fractions_elsewhere_would_round_is_refused(folder: Path, small_blocks: None) -> None:
    rows = [{"a": 0.5, "b": [{"c": 2**60}]}] * 50 + [{"a": 2**53 + 1}] + [{"b": [{"c": 0.25}]}] * 50
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert refused("a.jsonl").startswith(
        "a.jsonl:1: row 1: column 'b': 1152921504606846976 would be rounded: the column"
    )
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows[40:51])))
    assert refused("a.jsonl").startswith("a.jsonl:11: row 11: column 'a': 9007199254740993 would be rounded")


@pytest.mark.parametrize("name", ["n", "with space", "a|b", '"', "ü", "\n"])
@pytest.mark.parametrize("spaces", ["", " ", " \t"])
def test_such_a_number_is_found_whatever_its_column_is_called(folder: Path, name: str, spaces: str) -> None:
    key = json.dumps(name)
    lines = [f"{{{key}: 0.5}}", f"{{{key}{spaces}:{spaces}-9007199254740993{spaces}}}"]
    (folder / "a.jsonl").write_text("\n".join(lines))
    assert refused("a.jsonl").startswith(f"a.jsonl:2: row 2: column {name!r}: -9007199254740993 would be rounded")


def test_whole_numbers_of_64_bits_are_exact_beside_fractions_of_other_columns(folder: Path) -> None:
    rows = [{"a": 2**63 - 1, "b": 0.5, "c": {"d": "call 12345678901234567890"}}, {"a": -(2**63), "b": 2**53, "c": None}]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build("a.jsonl")
    assert read().to_pylist() == rows


def test_whole_numbers_that_another_file_would_round_are_refused(folder: Path) -> None:
    pq.write_table(pa.table({"n": [0.5]}), "a.parquet")
    (folder / "b.jsonl").write_text('{"n": 1}\n{"n": 9007199254740993}\n')
    write_csv(folder / "c.csv", [("n",), (9007199254740993,)])
    assert refused("a.parquet", "b.jsonl").startswith(
        "b.jsonl:2: row 2: column 'n': 9007199254740993 cannot be the double of this column in other files"
    )
    assert refused("a.parquet", "c.csv").startswith("c.csv:2: row 1: column 'n': 9007199254740993 cannot be")


def test_objects_without_keys_are_samples_beside_others_and_refused_alone(folder: Path) -> None:
    (folder / "a.jsonl").write_text("{}\n" * 3)
    assert refused("a.jsonl") == "a.jsonl: its samples have no columns at all; each needs one with a value"
    (folder / "a.jsonl").write_text('{}\n{"a": 1}\n{}\n')
    build("a.jsonl")
    assert read()["a"].to_pylist() == [None, 1, None]


# --- globs


def test_a_glob_is_one_row_per_file_sorted(folder: Path) -> None:
    for name in ("b/2.jpg", "a.jpg", "b/1.jpg", "b/c.d.jpg/note.txt", "x.png"):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(b"12345")
    (folder / "images" / "gone.jpg").symlink_to("nowhere")
    info = build("images/**/*.jpg")
    ids = ["images/a.jpg", "images/b/1.jpg", "images/b/2.jpg", "images/gone.jpg"]
    assert read().to_pydict() == {"id": ids, "path": [str(folder / name) for name in ids]}
    assert info.id == "id"
    assert info.sources[0].path == "images/**/*.jpg"
    assert (info.sources[0].size, info.sources[0].mtime) == (None, None)


def test_a_glob_has_sizes_where_they_are_the_cost(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"123")
    (folder / "b.bin").write_bytes(b"")
    build("*.bin", cost="size")
    assert read_costs(Path("manifest.arrow"), "size").tolist() == [3.0, 0.0]


def test_globs_start_at_the_folder_given_and_ids_do_not_depend_on_where_it_is(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "x.txt").touch()
    manifests = []
    for name in ("one", "two"):
        build_manifest("*.txt", Path("manifest.arrow"), None, None, folder=folder / name)
        manifests.append(read().to_pydict())
    assert [manifest["id"] for manifest in manifests] == [["x.txt"], ["x.txt"]]
    assert manifests[1]["path"] == [str(folder / "two" / "x.txt")]


def test_an_absolute_glob_has_absolute_ids(folder: Path) -> None:
    (folder / "x.txt").touch()
    build(f"{folder}/*.txt")
    assert read()["id"].to_pylist() == [str(folder / "x.txt")]


def test_a_pattern_of_tables_means_the_files_themselves(folder: Path) -> None:
    write_csv(folder / "a.csv", [("n",), (3,)])
    build("*.csv")
    assert read()["id"].to_pylist() == ["a.csv"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder: Path) -> None:
    write_csv(folder / "a[1].csv", [("n",), (3,)])
    assert build("a[1].csv").columns == ("n",)


def test_a_file_that_two_globs_match_is_refused(folder: Path) -> None:
    (folder / "x.txt").touch()
    message = refused("*.txt", "x*")
    assert message.startswith("x*: x.txt: id 'x.txt' is already that of *.txt: x.txt;")


def test_a_file_name_that_is_not_utf8_is_named(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.txt")).touch()
    assert "is not UTF-8; rename the file" in refused("*.txt")


# --- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: is empty; it needs a header line and rows"),
        ("id,v\n", "a.csv: no samples; the manifest needs at least one row"),
        (
            'id,v\n1,2\n\n"3\n4",5\n6,7,8\n',
            "a.csv:6: row 3: has 3 fields, the header has 2: '6,7,8'; quote a field",
        ),
        ("id,v\n1,2\n3\n", "a.csv:3: row 2: has 1 field, the header has 2: '3'"),
        ("id,id\n1,2\n", "a.csv: column 'id' is there more than once"),
        ('id,v\n1,2\n3,"x\n4,5\n6,7\n', "a.csv:3: row 2: has a quote that is never closed"),
        ('id,v\n1,"x\n2,y\n3,""\n', "a.csv:2: row 1: has a quote that is never closed"),
        ('id,v\n1,"x\n2,"y"\n3,z\n', "a.csv:2: row 1: has a quote that is never closed, or text behind"),
        ('id,v\n"1,x\n2,y\n', "a.csv:2: row 1: has a quote that is never closed"),
        ('id,"v\n1,x\n2,y\n', "a.csv:1: the header: has a quote that is never closed"),
        ('id,v\n1,5" disk\n2,"y\n', "a.csv:3: row 2: has a quote that is never closed"),
    ],
)
def test_a_broken_csv_is_refused_with_row_and_line(folder: Path, text: str, message: str) -> None:
    (folder / "a.csv").write_text(text)
    assert refused("a.csv").startswith(message)


def test_a_quoted_line_break_in_the_last_row_is_no_open_quote(folder: Path) -> None:
    (folder / "a.csv").write_text('id,v\n1,"2\n3"\n\n')
    build("a.csv")
    assert read()["v"].to_pylist() == ["2\n3"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16le", "utf-16be"])
def test_text_of_another_encoding_is_called_by_its_name(folder: Path, name: str, encoding: str) -> None:
    (folder / name).write_text("id,v\n1,2\n", encoding=encoding)
    assert refused(name) == (
        f"{name}: is {encoding.upper()} text; convert it to UTF-8: iconv -f {encoding.upper()} -t UTF-8"
    )


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_csv_whose_header_has_no_comma_has_the_separator_of_its_header(folder: Path, separator: str) -> None:
    write_csv(folder / "a.csv", [("id", "a"), ("1", "0,5"), ("2", "x;\ty")], separator)
    build("a.csv", ids="id")
    assert read().to_pydict() == {"id": ["1", "2"], "a": ["0,5", "x;\ty"]}


@pytest.mark.parametrize("header", ["id,a;b", "id;,a\tb", '"a;b"', "text"])
def test_other_separators_are_text_where_the_header_has_a_comma_or_quotes_them(folder: Path, header: str) -> None:
    (folder / "a.csv").write_text(header + "\n" + ",".join("1" * len(header.split(","))) + "\n")
    assert build("a.csv").columns == tuple(header.replace('"', "").split(","))


def test_a_csv_that_is_not_utf8_has_its_line_named(folder: Path, small_blocks: None) -> None:
    (folder / "a.csv").write_bytes(b"id,v\n" + b"1,2\n" * 500 + b"1,caf\xe9\n" + b"1,2\n" * 500)
    assert refused("a.csv").startswith("a.csv:502: not UTF-8 text (byte 0xe9); convert it")
    (folder / "a.csv").write_bytes(b"id;caf\xe9\n1;2\n")
    assert refused("a.csv").startswith("a.csv:1: not UTF-8 text (byte 0xe9); convert it")


def test_a_broken_row_far_into_the_file_has_its_own_number(folder: Path, small_blocks: None) -> None:
    write_csv(folder / "a.csv", [("id", "v"), *((n, "x\ny") for n in range(1000)), (1,), (2, 3)])
    assert refused("a.csv").startswith("a.csv:2002: row 1001: has 1 field, the header has 2")


def test_a_row_longer_than_a_block_is_refused(folder: Path, small_blocks: None) -> None:
    write_csv(folder / "a.csv", [("id", "v"), (1, "x" * 2000), (2, 3)])
    assert "a.csv: a row is longer than" in refused("a.csv")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_damaged_binary_file_is_bad_input(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"ARROW1 and then nothing of use")
    assert refused(name).startswith(f"{name}: cannot be read: ")


def test_a_truncated_arrow_file_is_bad_input(folder: Path) -> None:
    name = write_source("arrow-stream", folder)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    assert refused(name).startswith(f"{name}: cannot be read: ")


def test_files_that_are_not_there_or_of_no_known_kind_are_named(folder: Path) -> None:
    write_csv(folder / "table.csv", [("n",), (3,)])
    (folder / "notes.doc").touch()
    assert refused("tabel.csv") == "tabel.csv: no such file (data.manifest); did you mean table.csv?"
    assert refused("none/x.csv") == "none/x.csv: no such file (data.manifest)"
    assert refused("notes.doc").startswith(
        "notes.doc: unknown kind of manifest; valid: a .csv .tsv .jsonl .ndjson .txt"
    )
    assert refused("*.jpg").startswith("*.jpg: no file matches this pattern in ")
    (folder / "images").mkdir()
    assert refused("images/").startswith(
        "images: is a folder without .parquet files; for its files write a pattern such as images/*.jpg"
    )


def test_what_is_no_file_is_not_read(folder: Path) -> None:
    os.mkfifo(folder / "a.csv")
    (folder / "b.txt").symlink_to("/dev/zero")
    (folder / "c.csv").symlink_to("gone.csv")
    assert refused("a.csv") == "a.csv: is no file but a pipe, socket or device (data.manifest); write it to a file"
    assert refused("b.txt").startswith("b.txt: is no file but a pipe")
    assert refused("c.csv") == "c.csv: is a link to gone.csv, which is not there (data.manifest)"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_packed_text_is_called_by_its_packing(folder: Path, name: str) -> None:
    (folder / name).write_bytes(gzip.compress(b"x\n1\n"))
    assert refused(name) == f"{name}: is packed by gzip; unpack it, or name it with .gz or .zst if it is one of these"
    (folder / name).write_bytes(b"PK\3\4 as spreadsheets are")
    assert refused(name).startswith(f"{name}: is packed by zip; unpack it")


@pytest.mark.parametrize("text", ["a\rb", "a\rb\r"])
def test_lines_that_end_with_a_carriage_return_alone_are_not_one_sample(folder: Path, text: str) -> None:
    (folder / "a.txt").write_bytes(text.encode())
    assert refused("a.txt") == r"a.txt: has lines that end with \r alone; convert it: tr '\r' '\n'"
    (folder / "a.txt").write_bytes(b"a\r")
    assert build("a.txt").rows == 1


def test_objects_with_a_name_twice_are_refused_since_python_has_none(folder: Path) -> None:
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(pa.table({"v": pa.ListArray.from_arrays([0, 1], twice)}), folder / "a.parquet")
    assert refused("a.parquet").startswith("a.parquet: column 'v': its objects have 'x' more than once; convert it")


def test_missing_columns_name_the_nearest_and_all(folder: Path) -> None:
    name = write_source("csv", folder)
    assert refused(name, ids="idd") == (
        "table.csv: there is no column 'idd' (data.id). Did you mean 'id'? Its columns: id, path, size"
    )
    assert refused(name, cost="weight").startswith("table.csv: there is no column 'weight' (data.cost).")


def test_parts_with_other_columns_are_refused_by_name(folder: Path) -> None:
    write_csv(folder / "a.csv", [("id", "v"), (1, 2)])
    write_csv(folder / "b.csv", [("id", "w"), (1, 2)])
    assert refused("a.csv", "b.csv") == "b.csv: lacks v; has also w, unlike a.csv; all parts need the same columns"


def test_parts_with_types_that_do_not_go_together_are_refused(folder: Path) -> None:
    pq.write_table(pa.table({"v": ["x"]}), "a.parquet")
    pq.write_table(pa.table({"v": [1]}), "b.parquet")
    message = refused("a.parquet", "b.parquet")
    assert message.startswith("column 'v' has types that do not go together: string in a.parquet, int64 in b.parquet")


def test_decimals_beside_floats_are_refused_since_they_would_lose_digits(folder: Path) -> None:
    pq.write_table(pa.table({"v": [0.5]}), "a.parquet")
    pq.write_table(pa.table({"v": [Decimal("12345678901234567890.1")]}), "b.parquet")
    message = refused("a.parquet", "b.parquet")
    assert message.startswith(
        "column 'v' has types that do not go together: double in a.parquet, decimal128(21, 1) in b"
    )


def test_ids_that_are_no_text_or_whole_numbers_are_refused(folder: Path) -> None:
    pq.write_table(pa.table({"id": [1.5]}), "a.parquet")
    assert refused("a.parquet", ids="id").startswith("a.parquet: column 'id' (data.id) has type double")


def test_a_column_type_that_a_manifest_cannot_hold_is_refused(folder: Path) -> None:
    pq.write_table(pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}), "a.parquet")
    assert refused("a.parquet").startswith("a.parquet: column 'm': type map<string, int64")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_row_without_an_id_is_refused_with_its_place(folder: Path, kind: str) -> None:
    table = pa.table({"id": ["a", "b", None, "d"], "v": [1, 2, 3, 4]})
    name = write_source(kind, folder, table)
    line = {"csv": ":4", "jsonl": ":3", "parquet": ""}[kind]
    assert refused(name, ids="id") == f"{name}{line}: row 3: has no id in column 'id'; every sample needs one"


def test_repeated_ids_are_refused_with_both_places(folder: Path) -> None:
    write_csv(folder / "a.csv", [("id", "v"), ("a", "x\ny"), ("b", 1)])
    write_csv(folder / "b.csv", [("id", "v"), ("c", 1), ("a", 1), ("b", 2), ("b", 3)])
    assert refused("a.csv", "b.csv", ids="id") == (
        "b.csv:3: row 2: id 'a' is already that of a.csv:2: row 1; so are 'b' in rows 2 and 5; "
        "so are 'b' in rows 2 and 6; 3 row(s) in all repeat an id. Ids (column 'id') must be unique: "
        "choose another column as data.id, or leave it out to use row numbers"
    )


def test_repeated_ids_are_found_across_record_batches(folder: Path) -> None:
    ids = [f"s{n}" for n in range(BATCH_ROWS + 10)]
    ids[-1] = ids[7]
    pq.write_table(pa.table({"id": ids}), "a.parquet")
    message = refused("a.parquet", ids="id")
    assert message.startswith(
        f"a.parquet: row {BATCH_ROWS + 10}: id 's7' is already that of a.parquet: row 8; 1 row(s)"
    )


def test_ids_whose_hashes_collide_are_no_false_alarm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "id_hashes", lambda column: np.full(len(column), 5, np.uint64))
    pq.write_table(pa.table({"id": [f"{n:05}" for n in range(BATCH_ROWS + 100)]}), "a.parquet")
    assert build("a.parquet", ids="id").rows == BATCH_ROWS + 100
    pq.write_table(pa.table({"id": ["00000", "00001", "00000"]}), "a.parquet")
    assert "id '00000' is already that of a.parquet: row 1" in refused("a.parquet", ids="id")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "x", ""])
def test_a_cost_that_is_no_number_from_0_is_refused_with_its_place(folder: Path, value: str) -> None:
    write_csv(folder / "a.csv", [("id", "n"), ("a", 1), ("b", 0.5), ("c", value), ("d", 3)])
    message = refused("a.csv", cost="n")
    assert message.startswith("a.csv:4: row 3: cost in column 'n' (data.cost) must be a number from 0, not ")


@pytest.mark.parametrize("values", [[1, 2, 3], [0.5, 0.0, 2.0], ["007", "1", "2.5"]])
def test_costs_are_read_back_as_numbers(folder: Path, values: list[Any]) -> None:
    write_csv(folder / "a.csv", [("id", "n"), *enumerate(values)])
    build("a.csv", cost="n")
    costs = read_costs(Path("manifest.arrow"), "n")
    assert costs.dtype == np.float64
    assert costs.tolist() == [float(value) for value in values]


def test_a_source_that_grows_while_it_is_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(folder / "a.csv", [("id",), ("a",)])
    scan = csv_source.CsvSource.scan

    def scan_then_append(source: csv_source.CsvSource) -> Any:
        found = scan(source)
        with source.path.open("a") as file:
            file.write("b\n")
        return found

    monkeypatch.setattr(csv_source.CsvSource, "scan", scan_then_append)
    assert refused("a.csv", ids="id") == "a.csv: changed while it was read; try again when it is complete"


def test_a_refused_manifest_leaves_the_old_one_as_it_was(folder: Path) -> None:
    build(write_source("csv", folder), ids="id")
    old = Path("manifest.arrow").read_bytes()
    write_csv(folder / "bad.csv", [("id",), ("a",), ("a",)])
    refused("bad.csv", ids="id")
    assert Path("manifest.arrow").read_bytes() == old


# --- fingerprint and memory

leaves: dict[Any, Any] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.list_(pa.string()): st.lists(st.none() | st.text(max_size=3), max_size=3),
    pa.struct([("a", pa.int32()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(-9, 9), "b": st.none() | st.text(max_size=3)}
    ),
    pa.list_(pa.float64(), 2): st.lists(st.floats(), min_size=2, max_size=2),
    pa.timestamp("ms"): st.datetimes(),
    pa.decimal128(9, 2): st.decimals(-999, 999, places=2),
    pa.null(): st.none(),
}


def fingerprint(array: pa.Array) -> str:
    batch = pa.RecordBatch.from_arrays([array], names=["x"])
    result = Fingerprint(batch.schema)
    result.update(batch)
    return result.hexdigest()


@given(st.data())
def test_a_fingerprint_depends_on_the_values_and_not_on_their_layout(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(leaves)))
    values = data.draw(st.lists(st.none() | leaves[kind], max_size=12))
    before = data.draw(st.lists(st.none() | leaves[kind], max_size=3))
    plain = pa.array(values, kind)
    sliced = pa.array([*before, *values, *before], kind).slice(len(before), len(values))
    with_bitmap = pa.concat_arrays([plain, pa.array([None], kind)]).slice(0, len(values))
    assert fingerprint(plain) == fingerprint(sliced) == fingerprint(with_bitmap)


@given(st.data())
def test_a_fingerprint_changes_with_any_value(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(leaves)))
    lists = st.lists(st.none() | leaves[kind], max_size=6)
    one, other = pa.array(data.draw(lists), kind), pa.array(data.draw(lists), kind)
    if repr(one.to_pylist()) != repr(other.to_pylist()):
        assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_leaves_out_the_bytes_under_nulls() -> None:
    valid = pa.py_buffer(bytes([0b101]))
    arrays = [
        pa.Array.from_buffers(pa.int32(), 3, [valid, pa.py_buffer(np.array([1, x, 3], np.int32))]) for x in (0, 9)
    ]
    assert [array.to_pylist() for array in arrays] == [[1, None, 3]] * 2
    assert fingerprint(arrays[0]) == fingerprint(arrays[1])


def test_a_fingerprint_covers_column_names_and_types() -> None:
    names = {Fingerprint(pa.schema([(name, kind)])).hexdigest() for name in "ab" for kind in (pa.int32(), pa.int64())}
    assert len(names) == 4


# VmHWM, since ru_maxrss begins at the memory of the process that forked.
PEAK = """
import re, sys
from pathlib import Path
from launcher.manifest.manifest import build_manifest
print(build_manifest(sys.argv[1], Path(sys.argv[2]), "id", "cost").rows)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_million_rows_take_less_than_300_mb(tmp_path: Path, kind: str) -> None:
    rows = 1_000_000
    numbers = pa.array(np.arange(rows))
    table = pa.table({"id": numbers.cast(pa.string()), "cost": numbers})
    source = tmp_path / f"big.{kind}"
    if kind == "csv":
        pyarrow.csv.write_csv(table, source)
    elif kind == "jsonl":
        with source.open("w") as file:
            file.writelines(f'{{"id": "{n}", "cost": {n}}}\n' for n in range(rows))
    else:
        pq.write_table(table, source)
    command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / "manifest.arrow")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(output[0]) == rows
    assert int(output[1]) < 300_000  # KiB


def build_parts(parts: dict[str, list[str]], ids: str | None = None, cost: str | None = None) -> ManifestInfo:
    return build_manifest(parts, Path("manifest.arrow"), ids, cost)


def test_several_manifests_are_parts_of_one_with_the_columns_of_all(folder: Path) -> None:
    write_csv(folder / "a.csv", [("id", "n"), ("x", 1), ("y", 2)])
    write_csv(folder / "b.csv", [("id", "n"), ("z", 3)])
    (folder / "c.jsonl").write_text('{"id": "x", "label": "l", "n": 2.5}\n')
    write_csv(folder / "none.csv", [("id", "other")])
    info = build_parts({"train": ["a.csv", "b.csv"], "none": ["none.csv"], "test": ["c.jsonl"]}, ids="id")
    assert info.parts == (Part("train", 0, 3), Part("none", 3, 3), Part("test", 3, 4))
    assert read().to_pylist() == [
        {"id": "x", "n": 1.0, "label": None},
        {"id": "y", "n": 2.0, "label": None},
        {"id": "z", "n": 3.0, "label": None},
        {"id": "x", "n": 2.5, "label": "l"},
    ]


def test_a_sample_knows_its_manifest_and_its_row_in_it(folder: Path) -> None:
    for name, rows in (("a", 2), ("b", 0), ("c", 3)):
        write_csv(folder / f"{name}.csv", [("n",), *((row,) for row in range(rows))])
    build_parts({"a": ["a.csv"], "none": ["b.csv"], "c": ["c.csv"], "end": ["b.csv"]})
    samples = list(Samples(Path("manifest.arrow")).rows(0, 5))
    found = [(sample.manifest, sample.row, sample.index, sample.id) for sample in samples]
    assert found == [("a", 0, 0, "0"), ("a", 1, 1, "1"), ("c", 0, 2, "0"), ("c", 1, 3, "1"), ("c", 2, 4, "2")]
    build("c.csv")
    assert [(sample.manifest, sample.row) for sample in Samples(Path("manifest.arrow")).rows(1, 3)] == [
        (None, 1),
        (None, 2),
    ]


def test_an_id_may_be_in_two_manifests_and_not_twice_in_one(folder: Path) -> None:
    write_csv(folder / "a.csv", [("id",), ("x",), ("y",)])
    write_csv(folder / "b.csv", [("id",), ("y",), ("x",)])
    assert build_parts({"a": ["a.csv"], "b": ["b.csv"]}, ids="id").rows == 4
    with pytest.raises(InputError, match=r"b.csv:2: row 1: id 'y' is already that of a.csv:3: row 2"):
        build_parts({"a": ["a.csv"], "both": ["a.csv", "b.csv"]}, ids="id")


def test_parts_whose_types_clash_are_refused_with_both_names(folder: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), "a.parquet")
    pq.write_table(pa.table({"n": ["x"]}), "b.parquet")
    with pytest.raises(
        InputError, match=r"column 'n' has types that do not go together: int64 in a.parquet, string in b"
    ):
        build_parts({"a": ["a.parquet"], "b": ["b.parquet"]})
    write_csv(folder / "c.csv", [("n",), (1,)])
    write_csv(folder / "d.csv", [("m",), (1,)])
    with pytest.raises(InputError, match=r"d.csv: lacks n; has also m, unlike c.csv"):
        build_parts({"a": ["a.parquet"], "b": ["c.csv", "d.csv"]})


def test_every_part_needs_the_columns_that_the_config_names(folder: Path) -> None:
    write_csv(folder / "a.csv", [("id", "cost"), ("x", 1)])
    write_csv(folder / "b.csv", [("id",), ("x",)])
    with pytest.raises(InputError, match=r"b.csv: there is no column 'cost' \(data.cost\)"):
        build_parts({"a": ["a.csv"], "b": ["b.csv"]}, ids="id", cost="cost")


def test_parts_of_many_record_batches_keep_row_i_in_batch_i_over_65536(folder: Path) -> None:
    rows = BATCH_ROWS + 7
    pq.write_table(pa.table({"n": np.arange(rows)}), "a.parquet")
    pq.write_table(pa.table({"n": np.arange(rows), "m": np.arange(rows)}), "b.parquet")
    build_parts({"a": ["a.parquet"], "b": ["b.parquet"]})
    first, last = Samples(Path("manifest.arrow")).rows(rows - 1, rows + 1)
    assert (first["n"], first["m"], first.manifest) == (rows - 1, None, "a")
    assert (last["n"], last["m"], last.manifest) == (0, 0, "b")
    (last,) = Samples(Path("manifest.arrow")).rows(2 * rows - 1, 2 * rows)
    assert (last["m"], last.row) == (rows - 1, rows - 1)


def test_no_file_is_closed_while_arrow_reads_ahead_in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read would go to whatever file gets the descriptor next: the same one, opened again, whose rows are then lost."""
    closed_within_a_read: list[bool] = []

    class Slow(io.FileIO):
        is_reading = False

        def read(self, size: int | None = -1) -> bytes:
            self.is_reading = True
            time.sleep(0.02)  # as long as a loaded machine takes now and then
            try:
                return super().read(-1 if size is None else size)
            finally:
                self.is_reading = False

        def close(self) -> None:
            closed_within_a_read.append(self.is_reading)
            super().close()

    write_csv(folder / "a.csv", [("id", "n"), *((f"row-{n}", n) for n in range(600_000))])
    monkeypatch.setattr(pa, "input_stream", lambda path, compression: pa.PythonFile(Slow(path), mode="r"))
    assert build_manifest(str(folder / "a.csv"), folder / "manifest.arrow", "id", None).rows == 600_000
    assert closed_within_a_read
    assert not any(closed_within_a_read)


@pytest.mark.parametrize("text", ["n\n1\n\n3\n", "\n\nn\r\n1\r\n\r\n3\r\n", 'n\n1\n"2\n\n2"\n\n3', "n\r1\r\r3\r"])
def test_a_blank_line_between_rows_of_one_column_is_an_empty_value_or_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    with pytest.raises(InputError, match=r"a.csv:\d: is blank, between rows of one column"):
        csv_source.CsvSource(path).scan()


@pytest.mark.parametrize("text", ["\nn\n1\n3\n\n\n", 'n\n"1\n\n1"\n3', 'n\n""\n3\n', "n,m\n1,2\n\n3,4\n"])
def test_other_blank_lines_are_no_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    assert csv_source.CsvSource(path).scan().rows == 2
