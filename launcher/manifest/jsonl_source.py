"""JSON Lines sources: one object a line, read in blocks of lines.

Types are those that Arrow infers, over all rows; text that looks like a date stays text, and a key that a row
lacks is null.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.json

from jobs.errors import InputError
from launcher.manifest.schema import Scan, cast_batch, plain_schema
from launcher.manifest.sources import FileSource, not_utf8

BLOCK_BYTES = 2 * 2**20
_ONE_TYPE = "write a column's values all with one type"


@dataclass(frozen=True)
class _Block:
    """Lines that are not blank: their text, the row of the first one, and how many they are."""

    text: bytes
    first_row: int
    rows: int


class JsonlSource(FileSource):
    """A .jsonl file: UTF-8, one JSON object a line; blank lines are skipped."""

    def scan(self) -> Scan:
        schema, rows = pa.schema([]), 0
        for block in self._blocks():
            read = self._parse(block, None).schema
            found = pa.schema([pa.field(field.name, _text_for_dates(field.type)) for field in read])
            try:
                schema = pa.unify_schemas([schema, found], promote_options="permissive")
            except pa.ArrowTypeError as error:
                # Read again with the types of the rows before: Arrow then names the row that differs.
                self._parse(block, schema)
                raise InputError(f"{self.place(block.first_row)} and after: {error}; {_ONE_TYPE}") from None
            rows = block.first_row + block.rows
        self._schema = schema
        return Scan(self.name, plain_schema(schema, self.name), rows)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for block in self._blocks():
            for batch in self._parse(block, self._schema).to_batches():
                with self.reading():
                    yield cast_batch(batch, schema)

    def place(self, row: int) -> str:
        with self.path.open("rb") as file:
            lines = (number for number, line in enumerate(file, start=1) if line.strip())
            line = next(islice(lines, row, None), "?")
        return f"{self.name}:{line}: row {row + 1}"

    def _blocks(self) -> Iterator[_Block]:
        row = 0
        with self.reading(), self.path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":
                file.seek(0)
            while lines := file.readlines(BLOCK_BYTES):
                lines = [line for line in lines if line.strip()]
                if lines:
                    yield _Block(b"".join(lines), row, len(lines))
                    row += len(lines)

    def _parse(self, block: _Block, schema: pa.Schema | None) -> pa.Table:
        """The block as a table; with a schema its types are kept, and columns that it lacks are inferred."""
        read = pyarrow.json.ReadOptions(use_threads=False, block_size=len(block.text) + 1)
        parse = pyarrow.json.ParseOptions(explicit_schema=schema)
        try:
            block.text.decode()
            table = pyarrow.json.read_json(pa.BufferReader(block.text), read, parse)
        except pa.ArrowInvalid as error:
            raise InputError(self._explain(str(error), block)) from None
        except UnicodeDecodeError:
            raise InputError(not_utf8(self.path, self.name)) from None
        if table.num_rows != block.rows:
            raise InputError(self._explain("", block))
        return table

    def _explain(self, error: str, block: _Block) -> str:
        match = re.fullmatch(r"JSON parse error: (.*?)\.? in row (\d+)", error)
        if match:
            hint = f"; {_ONE_TYPE}" if "changed from" in match[1] else ""
            return f"{self.place(block.first_row + int(match[2]))}: not a JSON object: {match[1]}{hint}"
        row = next((row for row, line in enumerate(block.text.splitlines()) if not _is_object(line)), 0)
        return f"{self.place(block.first_row + row)}: must be one JSON object on one line {error}".rstrip()


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _text_for_dates(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_text_for_dates(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _text_for_dates(field.type)) for field in kind])
    return kind
