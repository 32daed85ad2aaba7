"""Journal: the append-only history of an attempt, one checksummed JSON record a line.

Written by the attempt's supervisor alone, read by other attempts, gather and status. A line is ``xxh3-64 hex, space,
JSON``; a line that does not match its checksum (torn by a crash, or damaged) counts for nothing.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from jobs.storage import checked_lines
from jobs.storage.beats import Beat
from jobs.storage.records import AttemptStart, Commits, DataFile, Layout, Record

RECORDS: dict[str, type[Record]] = {c.type: c for c in (AttemptStart, Layout, DataFile, Commits, Beat)}
# What a line of each has after its checksum.
_HEADS = {record: f' {{"type":"{name}"'.encode() for name, record in RECORDS.items()}
_PIECE = 1 << 18


def encode(record: Record) -> bytes:
    """One line of the journal, newline included."""
    return checked_lines.encode(record.to_json())


def decode(line: bytes) -> Record | None:
    """The record of a line without its newline; None where the line is torn, damaged, or of an unknown type."""
    try:
        data = checked_lines.decode(line)
        record = RECORDS.get(data["type"])
        return record.from_json(data) if record else None
    # Also where it was written by a version that knows other fields.
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def is_of(line: bytes, *kinds: type[Record]) -> bool:
    """Whether a line says that it is a record of one of these, which is known without decoding it."""
    return line.startswith(tuple(map(_HEADS.__getitem__, kinds)), checked_lines.DIGITS)


class Journal:
    """A new journal, open for appending; ``size`` is how long it is, bytes."""

    def __init__(self, path: Path) -> None:
        """Makes it; raises FileExistsError where there is one: no attempt goes on with another's."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o666)
        self.size = 0

    def append(self, *records: Record) -> None:
        """Writes the records with one write call; they survive the death of this process, not yet of the machine."""
        self.append_lines(map(encode, records))

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """The same with records that are encoded already."""
        data = memoryview(b"".join(lines))
        while data:
            written = os.write(self._descriptor, data)
            data = data[written:]
            self.size += written

    def sync(self) -> None:
        """After it returns, everything appended survives a crash of the machine."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(journal: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Each line that is not empty, from byte ``start`` on, and where it begins; the last one may be torn."""
    with journal.open("rb") as file:
        file.seek(start)
        at, rest = start, b""
        while piece := file.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line:
                    yield at, line
                at += len(line) + 1
        if rest:
            yield at, rest


def ended_lines(journal: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Each line from byte ``start`` on, and where the next one begins; one that is being written is left for the next time."""
    with journal.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            yield start, line[:-1]
