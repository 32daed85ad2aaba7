"""Sources of plain text: a line is a sample."""

from collections.abc import Iterator

import pyarrow as pa

from jobs.errors import InputError
from launcher.manifest.csv_types import strings
from launcher.manifest.schema import Scan
from launcher.manifest.text_source import TextSource

BLOCK_BYTES = 2 * 2**20


class TxtSource(TextSource):
    """A .txt file: UTF-8, one column ``text``; blank lines are samples, so that row n is line n."""

    def scan(self) -> Scan:
        self.check_encoding()
        with self.file() as file:
            start = file.read(BLOCK_BYTES)
        # The ends of lines of old Macintoshes: all of them would be one sample.
        if b"\n" not in start and b"\r" in start.rstrip(b"\r"):
            raise InputError(f"{self.name}: has lines that end with \\r alone; convert it: tr '\\r' '\\n'")
        return Scan(self.name, pa.schema([("text", pa.string())]), sum(len(lines) for lines in self._blocks()))

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for lines in self._blocks():
            yield pa.RecordBatch.from_arrays([strings(lines)], schema=schema)

    def place(self, row: int) -> str:
        return f"{self.name}:{row + 1}: row {row + 1}"

    def _blocks(self) -> Iterator[list[bytes]]:
        with self.file() as file:
            while lines := file.readlines(BLOCK_BYTES):
                try:
                    b"".join(lines).decode()
                except UnicodeDecodeError:
                    raise InputError(self.not_utf8()) from None
                yield [line.removesuffix(b"\n").removesuffix(b"\r") for line in lines]
