"""JSON Lines sources: one object a line, read in blocks of lines.

Types are those that Arrow infers, over all rows; text that looks like a date stays text, and a key that a row
lacks is null. What Arrow would take without a word, or call by a wrong name, json_rows.py finds.
"""

import re
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.json

from jobs.errors import InputError
from launcher.manifest.casts import cast_batch
from launcher.manifest.json_rows import (
    LineBlock,
    RowError,
    check_count,
    check_rows,
    explain,
    has_large_integers,
    inexact_integer,
    large_in_floats,
)
from launcher.manifest.schema import Scan, plain_schema
from launcher.manifest.text_source import TextSource

BLOCK_BYTES = 2 * 2**20
_ONE_TYPE = "write a column's values all with one type"


class JsonlSource(TextSource):
    """A .jsonl file: UTF-8, one JSON object a line; blank lines are skipped."""

    def scan(self) -> Scan:
        self.check_encoding()
        schema, rows, large = pa.schema([]), 0, False
        for block in self._blocks():
            schema = self._united(schema, block)
            rows = block.first_row + len(block.lines)
            large = large or has_large_integers(block.text)
        self._schema = schema
        if large and (pattern := large_in_floats(schema)):
            self._check_integers(pattern)
        return Scan(self.name, plain_schema(schema, self.name), rows)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        read = pa.schema([field.with_type(_without_nulls(field.type)) for field in self._schema])
        for block in self._blocks():
            row = block.first_row
            for batch in self._parse(block, read).to_batches():
                yield self.cast(cast_batch(batch, self._schema), schema, row)
                row += batch.num_rows

    def place(self, row: int) -> str:
        with self.file() as file:
            lines = (number for number, line in enumerate(file, start=1) if line.strip())
            line = next(islice(lines, row, None), "?")
        return f"{self.name}:{line}: row {row + 1}"

    def _united(self, schema: pa.Schema, block: LineBlock) -> pa.Schema:
        """The types of the rows before and of the block's."""
        read = self._parse(block, None).schema
        found = pa.schema([pa.field(field.name, _text_for_dates(field.type)) for field in read])
        try:
            return pa.unify_schemas([schema, found], promote_options="permissive")
        except pa.ArrowTypeError as error:
            # Read again with the types of the rows before: Arrow then names the row that differs.
            self._parse(block, schema)
            raise InputError(f"{self.place(block.first_row)} and after: {error}; {_ONE_TYPE}") from None

    def _check_integers(self, pattern: str) -> None:
        """Raises InputError where whole numbers would lose digits, because their column is of float64."""
        for block in self._blocks():
            if has_large_integers(block.text, pattern) and (found := inexact_integer(block, self._schema, pattern)):
                raise self._error(found, block)

    def _blocks(self) -> Iterator[LineBlock]:
        row = 0
        with self.file() as file:
            while lines := file.readlines(BLOCK_BYTES):
                block = LineBlock([text for line in lines if (text := line.strip(b" \t\r\n"))], row)
                if block.lines:
                    yield block
                    row += len(block.lines)

    def _parse(self, block: LineBlock, schema: pa.Schema | None) -> pa.Table:
        """The block as a table; with a schema its types are kept, and columns that it lacks are inferred."""
        read = pyarrow.json.ReadOptions(use_threads=False, block_size=len(block.text) + 1)
        parse = pyarrow.json.ParseOptions(explicit_schema=schema)
        try:
            check_rows(block)
            block.text.decode()
            table = pyarrow.json.read_json(pa.BufferReader(block.text), read, parse)
            check_count(block, table.num_rows)
            return table
        except RowError as error:
            raise self._error(error, block) from None
        except pa.ArrowInvalid as error:
            raise self._explain(str(error), block) from None
        except UnicodeDecodeError:
            raise InputError(self.not_utf8()) from None

    def _explain(self, error: str, block: LineBlock) -> InputError:
        """What Arrow could not read: a row that is wrong by itself, or beside those before."""
        match = re.fullmatch(r"JSON parse error: (.*?)\.? in row (\d+)", error, re.DOTALL)
        row, problem = (int(match[2]), match[1]) if match else (0, error)
        hint = f"; {_ONE_TYPE}" if "changed from" in problem else ""
        return self._error(explain(block) or RowError(row, f"{problem}{hint}"), block)

    def _error(self, error: RowError, block: LineBlock) -> InputError:
        return InputError(f"{self.place(block.first_row + error.row)}: {error}")


def _without_nulls(kind: pa.DataType) -> pa.DataType:
    """The type to read it with: of what is null throughout Arrow's reader makes too few in lists. A null is one of any type."""
    if pa.types.is_list(kind):
        return pa.list_(_without_nulls(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_nulls(field.type)) for field in kind])
    return pa.bool_() if pa.types.is_null(kind) else kind


def _text_for_dates(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_text_for_dates(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _text_for_dates(field.type)) for field in kind])
    return kind
