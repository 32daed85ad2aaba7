"""The rows of a result that describe its samples: ids, status, errors. Gather puts them, verify compares them.

Ids come from the manifest, record batch by record batch; status and errors from the journals, window by window.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.gather.result_file import FAILED, MISSING, OK, Put, put_strings
from jobs.gather.windows import Window
from jobs.storage.records import Part

# Row numbers are made in pieces of this many.
_PIECE = 1 << 18


def text(value: str) -> bytes:
    """As stored: UTF-8, with escapes for what UTF-8 cannot hold (file names that are not text)."""
    return value.encode("utf-8", "backslashreplace")


def put_ids(put: Put, manifest: Path, column: str | None, part: Part, first: int = 0) -> None:
    """The ids of a part, as ``Sample.id`` has them; where there is no id column row numbers, from ``first`` on."""
    if column is None:
        for start in range(0, part.rows, _PIECE):
            put("id", start, np.arange(first + start, first + min(start + _PIECE, part.rows), dtype=np.int64))
        return
    row = at = 0
    for array in _id_arrays(manifest, column, part.start, part.stop):
        lengths, values = _lengths_and_values(array)
        at = put_strings(put, "id", row, at, lengths, values)
        row += len(array)


def read_ids(manifest: Path, column: str | None, part: Part, start: int, stop: int) -> np.ndarray:
    """The ids of rows ``[start, stop)`` of a part: int64, or objects (str) as they would be read from a result."""
    if column is None:
        return np.arange(start, stop, dtype=np.int64)
    found = np.empty(stop - start, object)
    at = 0
    for array in _id_arrays(manifest, column, part.start + start, part.start + stop):
        found[at : at + len(array)] = array.to_pylist()
        at += len(array)
    return found


class IdBytes:
    """The bytes of a part's ids, asked for with ascending rows."""

    def __init__(self, manifest: Path, column: str, part: Part) -> None:
        arrays = _id_arrays(manifest, column, part.start, part.stop)
        self._coming = (_lengths_and_values(array)[0] for array in arrays)
        self._lengths = np.zeros(0, np.int64)
        self._at = 0

    def up_to(self, row: int) -> int:
        """Those of the rows since the last time."""
        found = 0
        while self._at < row:
            if not len(self._lengths):
                self._lengths = next(self._coming)
            count = min(row - self._at, len(self._lengths))
            found += int(self._lengths[:count].sum())
            self._lengths = self._lengths[count:]
            self._at += count
        return found


def _id_arrays(manifest: Path, column: str, start: int, stop: int) -> Iterator[pa.LargeStringArray]:
    """The ids of manifest rows ``[start, stop)``, in pieces."""
    with pa.memory_map(str(manifest)) as source, pa.ipc.open_file(source) as reader:
        end = 0
        for number in range(reader.num_record_batches):
            array = reader.get_batch(number).column(column)
            first, end = end, end + len(array)
            if end <= start or first >= stop:
                continue
            array = array.slice(max(start - first, 0), stop - max(start, first))
            exact = pa.types.is_string(array.type) or pa.types.is_integer(array.type)
            if exact and not array.null_count:
                yield array.cast(pa.large_string())
            else:
                yield pa.array([str(value) for value in array.to_pylist()], pa.large_string())


def _lengths_and_values(array: pa.LargeStringArray) -> tuple[np.ndarray, memoryview]:
    _, offsets_buffer, values_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    values = memoryview(values_buffer or b"")
    return np.diff(offsets), values[offsets[0] : offsets[-1]]


class StateWriter:
    """Puts /status and /errors, window after window; ``errors`` counts the failed samples so far."""

    def __init__(self, put: Put) -> None:
        self.errors = 0
        self._put = put
        self._ends = {"kind": 0, "message": 0}

    def add(self, window: Window) -> None:
        failed = [
            sample
            for stored in window.batches
            if stored.commit.failed
            for sample in sorted(stored.commit.failed, key=lambda sample: sample.row)
        ]
        status = np.full(window.stop - window.start, OK if window.batches else MISSING, np.uint8)
        status[[sample.row - window.start for sample in failed]] = FAILED
        self._put("status", window.start, status)
        if failed:
            self._put("errors/row", self.errors, np.array([sample.row for sample in failed], np.int64))
            self._put("errors/attempts", self.errors, np.array([sample.attempts for sample in failed], np.int32))
            self._add_strings("kind", [text(sample.kind) for sample in failed])
            self._add_strings("message", [text(sample.message) for sample in failed])
            self.errors += len(failed)

    def _add_strings(self, name: str, values: list[bytes]) -> None:
        lengths = np.array([len(value) for value in values], np.int64)
        end = put_strings(self._put, f"errors/{name}", self.errors, self._ends[name], lengths, b"".join(values))
        self._ends[name] = end
