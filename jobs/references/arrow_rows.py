"""ArrowRows: cells of Arrow files, stream or file format, mapped into memory: only what is asked for is read."""

import errno
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa

_OPEN_FILES = 64


def open_arrow(path: str) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """The schema and the record batches, views of the map."""
    file = pa.memory_map(path)
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    if not is_file:
        stream = pa.ipc.open_stream(file)
        return stream.schema, list(stream)
    reader = pa.ipc.open_file(file)
    return reader.schema, [reader.get_batch(number) for number in range(reader.num_record_batches)]


class _ArrowFile:
    def __init__(self, path: str) -> None:
        _, self.batches = open_arrow(path)
        self.starts = [0, *accumulate(batch.num_rows for batch in self.batches)]


_opened = lru_cache(maxsize=_OPEN_FILES)(_ArrowFile)


def read_arrow(name: str, row: int, path: str) -> Any:
    """A cell, as Python's values. Raises OSError where the file does not have it."""
    try:
        file = _opened(path)
        number = bisect_right(file.starts, row) - 1
        return file.batches[number].column(name)[row - file.starts[number]].as_py()
    except (KeyError, IndexError, pa.ArrowInvalid) as error:
        what = f"does not have row {row} of {name}: it has changed since the run was planned ({error}); plan it anew"
        raise OSError(errno.EIO, what, path) from error
