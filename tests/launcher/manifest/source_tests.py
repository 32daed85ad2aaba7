"""What every source of a manifest must do: a class of tests that each of them passes (test_sources.py)."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.errors import InputError
from launcher.manifest.casts import cast_batch
from launcher.manifest.sources import FileSource, Source

ROWS = 5


def read(source: Source, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(source.batches(schema), schema)


class SourceTests:
    """Tests of a source; a subclass says how one of ROWS rows is made in a folder, and which ids these have, in order."""

    ids: Sequence[str]

    def make(self, folder: Path) -> Source:
        raise NotImplementedError

    def take_away(self, folder: Path) -> None:
        """Makes the source one that cannot be read any more."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
        monkeypatch.chdir(tmp_path)
        return self.make(tmp_path)

    def test_a_scan_tells_rows_and_columns_and_reads_the_same_again(self, source: Source) -> None:
        scan = source.scan()
        assert (scan.name, scan.rows) == (source.name, ROWS)
        assert "id" in scan.schema.names
        assert scan.schema.metadata is None
        assert source.scan() == scan

    def test_all_rows_come_in_order_as_often_as_they_are_read(self, source: Source) -> None:
        schema = source.scan().schema
        table = read(source, schema)
        assert table["id"].to_pylist() == list(self.ids)
        assert read(source, schema) == table

    def test_batches_have_the_schema_that_is_asked_for(self, source: Source) -> None:
        schema = source.scan().schema
        assert [batch.schema for batch in source.batches(schema)] == [schema] * len(list(source.batches(schema)))
        shuffled = pa.schema([field.with_nullable(True) for field in reversed(list(schema))])
        assert read(source, shuffled).column_names == list(reversed(schema.names))

    def test_types_are_plain_so_that_they_go_into_any_manifest(self, source: Source) -> None:
        schema = source.scan().schema
        for batch in source.batches(schema):
            assert cast_batch(batch, schema) == batch

    def test_a_place_names_the_source_and_tells_rows_apart(self, source: Source) -> None:
        source.scan()
        places = [source.place(row) for row in range(ROWS)]
        assert all(place.startswith(source.name) for place in places)
        assert len(set(places)) == ROWS

    def test_a_location_does_not_depend_on_the_working_directory(
        self, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        location = source.location
        monkeypatch.chdir("/")
        assert source.location == location
        assert Path(location).is_absolute() or not isinstance(source, FileSource)

    def test_the_state_of_a_file_tells_of_a_change(self, source: Source) -> None:
        before = source.state()
        if not isinstance(source, FileSource):
            return
        assert before == (source.path.stat().st_size, source.path.stat().st_mtime)
        with source.path.open("ab") as file:
            file.write(b"\n")
        assert source.state() != before

    def test_what_cannot_be_read_is_bad_input_that_names_it(self, source: Source, tmp_path: Path) -> None:
        self.take_away(tmp_path)
        with pytest.raises(InputError) as caught:
            source.scan()
        assert source.name in str(caught.value)


class TableSourceTests(SourceTests):
    """Tests of a source that is a table of values: ids, numbers and text with all that a format may trip over."""

    ids = ("007", "a,b", "tab\there", "ü", "")
    table = pa.table(
        {
            "id": pa.array(ids),
            "text": pa.array(['say "hi"', "", "two  spaces", "☠", "null?"]),
            "whole": pa.array([3, 0, -5, 12, 2**40], pa.int64()),
            "part": pa.array([0.5, 1.25, -2.75, 1e10, 0.1], pa.float64()),
            "flag": pa.array([True, False, True, True, False]),
        }
    )

    def test_values_and_types_arrive_unchanged(self, source: Source) -> None:
        assert read(source, source.scan().schema) == self.table

    def test_numbers_are_cast_to_the_type_of_the_whole_manifest(self, source: Source) -> None:
        schema = source.scan().schema
        wider = pa.schema([field.with_type(pa.float64()) if field.name == "whole" else field for field in schema])
        assert read(source, wider)["whole"].to_pylist() == [3.0, 0.0, -5.0, 12.0, 2.0**40]
