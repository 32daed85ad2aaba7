"""Text files of samples: UTF-8, with a byte order mark or not, packed (.gz, .zst) or not; each format is a subclass."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from jobs.errors import InputError
from launcher.manifest.formats import PACKED
from launcher.manifest.sources import FileSource

_PACKINGS = dict(zip(PACKED, ("gzip", "zstd"), strict=True))
BLOCK_BYTES = 2 * 2**20
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# How files begin that are packed, whatever they are called.
_PACKED_BY = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz", b"PK\3\4": "zip"}
# Which of four bytes are zeros, in two letters that ASCII has too.
_WITHOUT_MARK = {b"\1\0\1\0": "UTF-16LE", b"\0\1\0\1": "UTF-16BE"}


class TextSource(FileSource):
    """A file of text, read as bytes."""

    @contextmanager
    def stream(self) -> Iterator[pa.NativeFile]:
        """The bytes, unpacked."""
        packing = _PACKINGS.get(self.path.suffix.lower())
        with self.reading():
            stream = pa.input_stream(str(self.path), compression=packing)
        with stream:
            yield stream

    @contextmanager
    def file(self) -> Iterator[io.BufferedReader]:
        """The bytes behind a byte order mark, as a file of Python, which has lines."""
        with self.reading(), self.stream() as stream, io.BufferedReader(stream, BLOCK_BYTES) as file:
            if file.peek(3).startswith(codecs.BOM_UTF8):
                file.read(3)
            yield file

    def check_encoding(self) -> None:
        """Raises InputError where the first bytes say that it is no UTF-8: a byte order mark, zeros in letters, a packing."""
        with self.reading(), self.stream() as stream:
            first = stream.read(4)
        marked = (name for mark, name in _MARKS.items() if first.startswith(mark))
        found = next(marked, _WITHOUT_MARK.get(bytes(map(bool, first))))
        if found:
            raise InputError(f"{self.name}: is {found} text; convert it to UTF-8: iconv -f {found} -t UTF-8")
        if packing := next((name for begin, name in _PACKED_BY.items() if first.startswith(begin)), None):
            ends = " or ".join(PACKED)
            raise InputError(
                f"{self.name}: is packed by {packing}; unpack it, or name it with {ends} if it is one of these"
            )

    def not_utf8(self) -> str:
        """A message with the first line that is not UTF-8; empty where all are."""
        with self.file() as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    byte = f"{line[error.start]:#x}"
                    return f"{self.name}:{number}: not UTF-8 text (byte {byte}); convert it: iconv -f LATIN1 -t UTF-8"
        return ""
