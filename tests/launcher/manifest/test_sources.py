"""The sources of a manifest: text files, binary files, and globs of sample files."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from launcher.manifest.csv_source import CsvSource, TsvSource
from launcher.manifest.jsonl_source import JsonlSource
from launcher.manifest.sources import ArrowSource, GlobSource, ParquetSource, Source
from tests.launcher.manifest.source_tests import SourceTests, TableSourceTests


class FileTests(TableSourceTests):
    suffix: str

    def take_away(self, folder: Path) -> None:
        (folder / f"table.{self.suffix}").unlink()


class TestCsvSource(FileTests):
    suffix = "csv"
    source_type: type[CsvSource] = CsvSource

    def make(self, folder: Path) -> Source:
        path = folder / f"table.{self.suffix}"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.source_type.delimiter)
            writer.writerow(self.table.column_names)
            writer.writerows([str(v).lower() if isinstance(v, bool) else v for v in row.values()] for row in self.rows)
        return self.source_type(path)

    @property
    def rows(self) -> list[dict[str, object]]:
        return list(self.table.to_pylist())


class TestTsvSource(TestCsvSource):
    suffix = "tsv"
    source_type = TsvSource


class TestJsonlSource(FileTests):
    suffix = "jsonl"

    def make(self, folder: Path) -> Source:
        path = folder / "table.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in self.table.to_pylist()))
        return JsonlSource(path)


class TestParquetSource(FileTests):
    suffix = "parquet"

    def make(self, folder: Path) -> Source:
        path = folder / "table.parquet"
        pq.write_table(self.table.replace_schema_metadata({"made": "by a test"}), path, row_group_size=2)
        return ParquetSource(path)


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
