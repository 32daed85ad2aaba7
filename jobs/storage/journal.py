"""Journal: the append-only history of a shard, one checksummed JSON record a line.

Written by the supervisor alone, read by resume, gather and status. A line is ``xxh3-64 hex, space, JSON``; a line
that does not match its checksum (torn by a crash, or damaged) counts for nothing, so its rows are simply redone.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import xxhash

from jobs.errors import BusyError
from jobs.storage.files import is_locked, try_lock
from jobs.storage.records import RECORDS, AttemptEnd, AttemptStart, Commit, FailedSample, Layout, Record, Retry

_JSON = json.JSONDecoder()
# An end record fits into so many bytes: its message is cut.
_TAIL = 4096


def encode(record: Record) -> bytes:
    """One line of the journal, newline included."""
    body = json.dumps(record.to_json(), separators=(",", ":")).encode()
    return xxhash.xxh3_64_hexdigest(body).encode() + b" " + body + b"\n"


def decode(line: bytes) -> Record | None:
    """The record of a line without its newline; None where the line is torn, damaged, or of an unknown type."""
    checksum, _, body = line.partition(b" ")
    if xxhash.xxh3_64_hexdigest(body).encode() != checksum:
        return None
    try:
        data, _ = _JSON.raw_decode(body.decode())
        record = RECORDS.get(data["type"])
        return record.from_json(data) if record else None
    except (ValueError, KeyError, TypeError):  # written by a version that knows other fields
        return None


@dataclass
class Attempt:
    """One attempt as the journal knows it; ``end`` is None while it runs, or where it was killed without a word."""

    start: AttemptStart
    end: AttemptEnd | None = None


@dataclass
class History:
    """A journal replayed: what counts now. ``commits`` maps a batch's first row to its newest commit.

    ``committed`` counts the samples that the last attempt committed; ``failed`` and ``ok`` all that count, and ``before``
    those of them when the last attempt began. They are kept as records come, since a running attempt looks at them after
    every batch.
    """

    attempts: list[Attempt] = field(default_factory=list)
    layout: Layout | None = None
    commits: dict[int, Commit] = field(default_factory=dict)
    bad_lines: int = 0
    committed: int = 0
    ok: int = 0
    failed: int = 0
    before: int = 0

    def read(self, lines: Iterable[bytes]) -> None:
        """Applies what lines of the journal say, without their newlines."""
        for line in lines:
            record = decode(line) if line else None
            if record:
                self.apply(record)
            elif line:
                self.bad_lines += 1

    def apply(self, record: Record) -> None:
        match record:
            case Commit():
                self.forget(record.start)
                self.commits[record.start] = record
                self._count(record, 1)
                self.committed += record.stop - record.start
            case AttemptStart():
                self.attempts.append(Attempt(record))
                self.committed = 0
                self.before = self.ok + self.failed
            case AttemptEnd():
                if self.attempts:
                    self.attempts[-1].end = record
            case Layout():
                self.layout = record
            case Retry():
                for start in [start for start, commit in self.commits.items() if commit.failed]:
                    self.forget(start)

    def forget(self, start: int) -> None:
        """Makes the commit of a batch void, if there is one."""
        commit = self.commits.pop(start, None)
        if commit:
            self._count(commit, -1)

    def _count(self, commit: Commit, sign: int) -> None:
        failed = len(commit.failed)
        self.failed += sign * failed
        self.ok += sign * (commit.stop - commit.start - failed)

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def failed_samples(self) -> Iterator[FailedSample]:
        return (sample for commit in self.commits.values() for sample in commit.failed)


def replay(path: Path, size: int = -1) -> History:
    """The history of a shard; empty where there is no journal yet.

    ``size`` bytes are read (-1: all), so that a journal that grows can be replayed twice with the same outcome.
    """
    history = History()
    try:
        with path.open("rb") as file:
            data = file.read(size)
    except FileNotFoundError:
        return history
    history.read(data.split(b"\n"))
    return history


class JournalReader:
    """A journal that another process appends to; what was read of it is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._history = History()

    def new_lines(self) -> list[bytes]:
        """The lines that came since the last call, not decoded; none where there is no journal yet.

        A line without its newline is left for the next call: it is being written.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                lines, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._offset += len(lines) + len(newline)
        return lines.split(b"\n") if newline else []

    def history(self) -> History:
        """All that the journal says as of now; not to be mixed with calls of ``new_lines``, which takes lines away."""
        self._history.read(self.new_lines())
        return self._history

    def end(self) -> AttemptEnd | None:
        """The end record in the last line, read without the rest; None where there is no journal, or its end is none."""
        tail = _TAIL
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                while True:
                    file.seek(max(0, size - tail))
                    _, before, line = file.read().rstrip(b"\n").rpartition(b"\n")
                    if before or tail >= size:
                        break
                    tail *= 8
        except FileNotFoundError:
            return None
        record = decode(line)
        return record if isinstance(record, AttemptEnd) else None


class Journal:
    """The journal open for appending; holds an exclusive lock that ends with the process, however it dies."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it. Raises BusyError where another attempt has it open."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        if not try_lock(self._fd):
            os.close(self._fd)
            raise BusyError(f"{path}: another attempt is running this shard")
        # A line that a crash has torn would spoil the one that comes next.
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

    def append(self, records: Iterable[Record]) -> None:
        """Writes the records with one write call; they survive the death of this process, not yet of the machine."""
        data = memoryview(b"".join(map(encode, records)))
        while data:
            data = data[os.write(self._fd, data) :]

    def sync(self) -> None:
        """After it returns, everything appended survives a crash of the machine."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_running(path: Path) -> bool:
    """Whether an attempt has the journal open: one on this machine, or anywhere if the file system shares locks."""
    return is_locked(path)
