"""CSV and TSV sources: read as text, typed by all their cells (csv_types.py)."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import ClassVar

import pyarrow as pa
import pyarrow.csv

from jobs.errors import InputError
from launcher.manifest.csv_types import Kinds, typed
from launcher.manifest.quotes import QuotePairs, wrong_quotes
from launcher.manifest.schema import Scan, plain_schema
from launcher.manifest.text_source import TextSource

BLOCK_BYTES = 2 * 2**20
_BLANK = re.compile(rb"\n\r?\n|\r\r")


class CsvSource(TextSource):
    """A .csv file: UTF-8, one header line, fields quoted with ``"`` where need be.

    Its separator is the comma, unless the header has none: spreadsheets of many countries write semicolons.
    """

    separators: ClassVar[str] = ",;\t"

    @cached_property
    def delimiter(self) -> str:
        """The first of the separators if the header has it, else the one that it has most."""
        start = re.sub(rb'"[^"]*"', b"", self._beginning())
        header = next(filter(None, start.splitlines()), b"").decode(errors="replace")
        first = self.separators[0]
        return first if first in header else max(self.separators, key=header.count)

    def _beginning(self) -> bytes:
        """The first bytes, unpacked, as many as are read at a time."""
        with self.reading(), self.stream() as stream:
            return bytes(stream.read(BLOCK_BYTES))

    def scan(self) -> Scan:
        self.check_encoding()
        self._check_quotes()
        rows = 0
        with self._open() as reader:
            names = plain_schema(reader.schema, self.name).names
            if names[0].lower() == "sep=":
                raise InputError(f"{self.name}:1: is a line for spreadsheets (sep=), and not the header; remove it")
            kinds = {name: Kinds() for name in names}
            for batch in reader:
                for name in names:
                    kinds[name].update(batch.column(name))
                rows += batch.num_rows
        if len(names) == 1:
            self._check_blank_lines()
        self._schema = pa.schema([(name, kinds[name].best()) for name in names])
        return Scan(self.name, self._schema, rows, as_text=True)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows = 0
        with self._open() as reader:
            for batch in reader:
                yield self.cast(self._typed(batch, schema), schema, rows)
                rows += batch.num_rows

    def _typed(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """The columns of the schema: those that are text there as they are, the others with their own types."""
        columns = {
            field.name: typed(batch.column(field.name), self._schema.field(field.name).type, field.type)
            for field in schema
        }
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def place(self, row: int) -> str:
        """With the line where the row begins, from 1, if the csv module can read that far."""
        with self._lines() as lines, suppress(csv.Error):
            reader = csv.reader(lines, delimiter=self.delimiter)
            begin, found = 1, -2  # -1 is the header
            for record in reader:
                found += bool(record)
                if record and found == row:
                    return f"{self.name}:{begin}: row {row + 1}"
                begin = reader.line_num + 1
        return f"{self.name}: row {row + 1}"

    @contextmanager
    def _lines(self) -> Iterator[io.TextIOWrapper]:
        with self.file() as file, io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="") as lines:
            yield lines

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
            # Of bytes in memory. Arrow reads ahead in another thread, also for a reader that is closed: that thread would read
            # from whatever file has got the descriptor by then, the next one of this very file, whose rows would be lost.
            first = pa.BufferReader(self._beginning())
            skip = pyarrow.csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=lambda row: "skip"
            )
            with pyarrow.csv.open_csv(first, read, skip) as header:
                names = header.schema.names
            convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            with self.stream() as stream, pyarrow.csv.open_csv(stream, read, parse, convert) as reader:
                yield reader
        except pa.ArrowInvalid as error:
            raise InputError(self._explain(error, broken)) from None
        except UnicodeDecodeError:  # in the header
            raise InputError(self.not_utf8()) from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error}") from None

    def _explain(self, error: pa.ArrowInvalid, broken: list[pyarrow.csv.InvalidRow]) -> str:
        text = str(error)
        if broken:
            row = broken[0]
            fields = "1 field" if row.actual_columns == 1 else f"{row.actual_columns} fields"
            return (
                f"{self.place(row.number - 2)}: has {fields}, the header has "
                f"{row.expected_columns}: {row.text[:200]!r}; quote a field that holds the separator"
            )
        if "Empty CSV" in text:
            return f"{self.name}: is empty; it needs a header line and rows"
        if "straddling" in text:
            return f"{self.name}: a row is longer than {BLOCK_BYTES >> 20} MB; put such data into files of their own"
        return self.not_utf8() or f"{self.name}: cannot be read: {text}"

    def _check_quotes(self) -> None:
        """Raises InputError, with the line, where a quote would swallow rows."""
        pairs = QuotePairs(self.delimiter)
        with self.file() as file:
            while chunk := file.read(BLOCK_BYTES):
                pairs.update(chunk)
        if not pairs.odd():
            return
        with self._lines() as lines:
            found = wrong_quotes(lines, self.delimiter)
        if found:
            line, row, problem = found
            where = f"{self.name}:{line}: row {row}" if row else f"{self.name}:{line}: the header"
            raise InputError(f"{where}: {problem}; close it, and double the quotes inside a quoted field")

    def _check_blank_lines(self) -> None:
        """Raises InputError for one between the rows of a table with one column: it may be an empty value, or nothing."""
        end = b""
        with self.file() as file:
            while chunk := file.read(BLOCK_BYTES):
                if _BLANK.search(end + chunk):
                    break
                end = chunk[-2:]
            else:
                return
        blank = 0
        with self._lines() as lines:
            reader = csv.reader(lines, delimiter=self.delimiter)
            next(filter(None, reader), None)  # the header, and what is blank before it
            for record in reader:
                if record and blank:
                    raise InputError(
                        f'{self.name}:{blank}: is blank, between rows of one column; write an empty value as "", else '
                        "remove the line"
                    )
                blank = 0 if record else blank or reader.line_num


class TsvSource(CsvSource):
    """A .tsv file: the same with tabs."""

    separators = "\t"
