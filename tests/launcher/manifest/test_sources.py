"""The sources of a manifest: text files, binary files, and globs of sample files."""

import csv
import errno
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import InputError
from launcher.manifest.csv_source import CsvSource, TsvSource
from launcher.manifest.formats import open_source
from launcher.manifest.jsonl_source import JsonlSource
from launcher.manifest.parquet_folder import ParquetFolder, parquet_files
from launcher.manifest.sources import ArrowSource, GlobSource, ParquetSource, Source
from tests.launcher.manifest.source_tests import SourceTests, TableSourceTests


def write_packed(path: Path, data: bytes) -> None:
    """Packed as its name says, in two parts, as parallel packers do."""
    halves = data[: len(data) // 2], data[len(data) // 2 :]
    if path.suffix == ".gz":
        data = b"".join(map(gzip.compress, halves))
    elif path.suffix == ".zst":
        data = b"".join(pa.Codec("zstd").compress(half).to_pybytes() for half in halves)
    path.write_bytes(data)


class FileTests(TableSourceTests):
    suffix: str

    def take_away(self, folder: Path) -> None:
        (folder / f"table.{self.suffix}").unlink()


class TestCsvSource(FileTests):
    suffix = "csv"
    source_type: type[CsvSource] = CsvSource

    def make(self, folder: Path) -> Source:
        path = folder / f"table.{self.suffix}"
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.source_type.separators[0])
        writer.writerow(self.table.column_names)
        writer.writerows(row.values() for row in self.table.to_pylist())
        write_packed(path, text.getvalue().encode())
        return self.source_type(path)


class TestTsvSource(TestCsvSource):
    suffix = "tsv"
    source_type = TsvSource


class TestGzippedCsvSource(TestCsvSource):
    suffix = "csv.gz"


class TestZstdCsvSource(TestCsvSource):
    suffix = "csv.zst"


class TestJsonlSource(FileTests):
    suffix = "jsonl"

    def make(self, folder: Path) -> Source:
        path = folder / f"table.{self.suffix}"
        write_packed(path, "".join(json.dumps(row) + "\n" for row in self.table.to_pylist()).encode())
        return JsonlSource(path)


class TestGzippedJsonlSource(TestJsonlSource):
    suffix = "jsonl.gz"


class TestZstdJsonlSource(TestJsonlSource):
    suffix = "jsonl.zst"


class TestParquetSource(FileTests):
    suffix = "parquet"

    def make(self, folder: Path) -> Source:
        path = folder / "table.parquet"
        pq.write_table(self.table.replace_schema_metadata({"made": "by a test"}), path, row_group_size=2)
        return ParquetSource(path)


class TestParquetFolder(TableSourceTests):
    def make(self, folder: Path) -> Source:
        (folder / "table").mkdir()
        (folder / "table" / "_SUCCESS").touch()
        for number, start in enumerate((0, 2, 2)):  # one file is empty
            rows = self.table.slice(start, (2, 0, 3)[number])
            pq.write_table(rows, folder / "table" / f"part-{number}.parquet")
        return ParquetFolder(folder / "table")

    def take_away(self, folder: Path) -> None:
        for path in (folder / "table").glob("*.parquet"):
            path.unlink()

    def test_a_place_is_a_row_of_a_file(self, source: Source) -> None:
        source.scan()
        assert [source.place(row) for row in (1, 2)] == [
            "table/part-0.parquet: row 2",
            "table/part-2.parquet: row 1",
        ]

    def test_folders_of_files_within_are_refused_so_that_none_is_left_out(self, source: Source, tmp_path: Path) -> None:
        (tmp_path / "table" / "year=2024").mkdir()
        pq.write_table(self.table, tmp_path / "table" / "year=2024" / "a.parquet")
        with pytest.raises(InputError, match=r"table: has folders of Parquet files too \(table/year=2024\)"):
            source.scan()

    def test_its_state_tells_of_a_change_of_any_file(self, source: Source, tmp_path: Path) -> None:
        before = source.state()
        pq.write_table(self.table, tmp_path / "table" / "part-1.parquet")
        assert source.state() != before


class TestArrowFileSource(FileTests):
    suffix = "arrow"

    def make(self, folder: Path) -> Source:
        path = folder / "table.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, self.table.schema) as writer:
            writer.write_table(self.table, max_chunksize=2)
        return ArrowSource(path)


class TestArrowStreamSource(FileTests):
    suffix = "arrow"

    def make(self, folder: Path) -> Source:
        path = folder / "table.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, self.table.schema) as writer:
            writer.write_table(self.table, max_chunksize=2)
        return ArrowSource(path)


class TestGlobSource(SourceTests):
    ids = ("a/1.bin", "a/2.bin", "b/10.bin", "b/9.bin", "b/ü.bin")
    sizes = False

    def make(self, folder: Path) -> Source:
        for size, name in enumerate(reversed(self.ids)):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"x" * size)
        (folder / "b" / "folder.bin").mkdir()
        return GlobSource("*/*.bin", folder, self.sizes)

    def take_away(self, folder: Path) -> None:
        for name in self.ids:
            (folder / name).unlink()


class TestGlobSourceWithSizes(TestGlobSource):
    sizes = True

    def test_sizes_are_those_of_the_files(self, source: Source) -> None:
        (batch,) = source.batches(source.scan().schema)
        assert batch["size"].to_pylist() == [4, 3, 2, 1, 0]


def test_a_column_whose_name_is_no_text_is_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": [1], "column": [2]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"column", b"colum\xfc"))

    with pytest.raises(InputError, match=r"table\.parquet: cannot be read"):
        ParquetSource(path).scan()


def test_no_parquet_file_of_a_folder_is_passed_over(tmp_path: Path) -> None:
    for name in ("a.parquet", "B.PARQUET", "_notes.parquet"):
        pq.write_table(pa.table({"x": [1]}), tmp_path / name)
    assert [path.name for path in parquet_files(tmp_path)] == ["B.PARQUET", "a.parquet"]
    (tmp_path / "c.parquet").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"c\.parquet: cannot be read"):
        ParquetFolder(tmp_path).scan()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "D.Parquet").touch()
    with pytest.raises(InputError, match="has folders of Parquet files too"):
        ParquetFolder(tmp_path).scan()


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=f"{tmp_path}: this folder cannot be read: Permission denied"):
        open_source(str(tmp_path), tmp_path, ())


def test_a_line_for_spreadsheets_is_not_taken_for_the_header(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sep=;\na;b\n1;2\n")
    with pytest.raises(InputError, match=r"table\.csv:1: is a line for spreadsheets"):
        CsvSource(path).scan()
