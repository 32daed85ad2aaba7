"""CSV and TSV sources: read as text, typed by all their rows.

A column is boolean, whole numbers or numbers if every value is, in the whole file; else it is text,
unchanged. A number with a leading zero, or too long to be kept exactly, makes its column text: such things
are codes. In columns of numbers the usual spellings of a missing value (NA, null, nan, nothing) are nulls.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from jobs.errors import InputError
from launcher.manifest.schema import Scan, plain_schema
from launcher.manifest.sources import FileSource, not_utf8

BLOCK_BYTES = 2 * 2**20


def _strings(words: Sequence[str]) -> pa.Array:
    """As ``pa.array(words)``, which imports pandas, and that takes longer than all else of planning a small run."""
    data = [word.encode() for word in words]
    ends = array("i", accumulate(map(len, data), initial=0))
    return pa.StringArray.from_buffers(len(data), pa.py_buffer(ends), pa.py_buffer(b"".join(data)))


_NULLS = _strings(pyarrow.csv.ConvertOptions().null_values)
_NULL = pa.nulls(1, pa.string())[0]
# Words of each kind, in the order of preference; 15 digits are exact in a float64, 18 fit an int64.
_KINDS = {
    pa.bool_(): r"^(?:true|True|TRUE|false|False|FALSE)$",
    pa.int64(): r"^-?(?:0|[1-9][0-9]{0,17})$",
    pa.float64(): r"^[+-]?(?:(?:(?:0|[1-9][0-9]{0,14})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf)$",
}


class CsvSource(FileSource):
    """A .csv file: UTF-8, one header line, fields quoted with ``"`` where need be."""

    delimiter = ","

    def scan(self) -> Scan:
        rows, last = 0, None
        with self._open() as reader:
            names = plain_schema(reader.schema, self.name).names
            kinds = {name: _Kinds() for name in names}
            for batch in reader:
                for name in names:
                    kinds[name].update(batch.column(name))
                rows, last = rows + batch.num_rows, batch
        self._check_last_quote(last, rows)
        return Scan(self.name, pa.schema([(name, kinds[name].best()) for name in names]), rows, as_text=True)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._open() as reader:
            for batch in reader:
                columns = [_typed(batch.column(field.name), field.type) for field in schema]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def place(self, row: int) -> str:
        """With the line where the row begins, from 1, if the csv module can read that far."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file, suppress(csv.Error):
            reader = csv.reader(file, delimiter=self.delimiter)
            begin, found = 1, -2  # -1 is the header
            for record in reader:
                found += bool(record)
                if record and found == row:
                    return f"{self.name}:{begin}: row {row + 1}"
                begin = reader.line_num + 1
        return f"{self.name}: row {row + 1}"

    @contextmanager
    def _open(self) -> Iterator[pa.RecordBatchReader]:
        """A reader of text columns. Arrow counts rows from 1 with the header, without empty lines."""
        broken: list[pyarrow.csv.InvalidRow] = []

        def refuse(row: pyarrow.csv.InvalidRow) -> str:
            broken.append(row)
            return "error"

        read = pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
        parse = pyarrow.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=refuse)
        try:
            with pyarrow.csv.open_csv(str(self.path), read, parse) as header:
                names = header.schema.names
            convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            with pyarrow.csv.open_csv(str(self.path), read, parse, convert) as reader:
                yield reader
        except pa.ArrowInvalid as error:
            raise InputError(self._explain(error, broken)) from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error}") from None

    def _explain(self, error: pa.ArrowInvalid, broken: list[pyarrow.csv.InvalidRow]) -> str:
        text = str(error)
        if broken:
            row = broken[0]
            return (
                f"{self.place(row.number - 2)}: has {row.actual_columns} fields, the header has "
                f"{row.expected_columns}: {row.text[:200]!r}; quote a field that holds the separator"
            )
        if "Empty CSV" in text:
            return f"{self.name}: is empty; it needs a header line and rows"
        if "straddling" in text:
            return f"{self.name}: a row is longer than {BLOCK_BYTES >> 20} MB: is a quote never closed?"
        return not_utf8(self.path, self.name) or f"{self.name}: cannot be read: {text}"

    def _check_last_quote(self, last: pa.RecordBatch | None, rows: int) -> None:
        """A quote that is never closed makes the rest of the file one field, and Arrow says nothing."""
        if last is None or not last.num_rows or "\n" not in (last.column(last.num_columns - 1)[-1].as_py() or ""):
            return
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 4096))
            closed = file.read().rstrip(b"\r\n \t").endswith(b'"')
        if not closed:
            raise InputError(f"{self.place(rows - 1)}: has a quote that is never closed; close it, or double it")


class TsvSource(CsvSource):
    """A .tsv file: the same with tabs."""

    delimiter = "\t"


class _Kinds:
    """The kinds that all values of a column so far can be."""

    def __init__(self) -> None:
        self._possible = list(_KINDS)
        self._empty = True

    def update(self, column: pa.Array) -> None:
        values = column.filter(pc.invert(pc.is_in(column, value_set=_NULLS)))
        self._empty = self._empty and len(values) == 0
        matches = {kind: pc.match_substring_regex(values, _KINDS[kind]) for kind in self._possible}
        self._possible = [kind for kind, found in matches.items() if pc.all(found, min_count=0).as_py()]

    def best(self) -> pa.DataType:
        return pa.null() if self._empty else next(iter(self._possible), pa.string())


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return column
    return pc.if_else(pc.is_in(column, value_set=_NULLS), _NULL, column).cast(kind)
