"""TarMembers: the files within a tar, read at the place where the plan found them, so that nobody looks through the tar."""

import errno
import os
from functools import lru_cache
from typing import Any

from jobs.references.tar_header import BLOCK, is_header_of

_OPEN_FILES = 64
OWN = ("id", "key", "tar", "size")
"""Columns of a tar's samples beside those of their files."""


class _OpenFile:
    """A file to read from; closed once nobody has it any more, so that one thread cannot close what another reads."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # it could be opened
            os.close(self.descriptor)


_opened = lru_cache(maxsize=_OPEN_FILES)(_OpenFile)


def read_member(name: str, cell: dict[str, int], path: str, key: str) -> bytes:
    """The bytes of a sample's file with that extension. Raises OSError where the tar is not as it was planned."""
    offset, size = cell["offset"], cell["size"]
    data = _read(_opened(path), offset - BLOCK, size + BLOCK)
    member = f"{key}.{name.removeprefix('.') if name in map(column_of, OWN) else name}"
    if len(data) < size + BLOCK or not is_header_of(data[:BLOCK], member.encode(), size):
        what = (
            f"does not have {member} at byte {offset} any more: it has changed since the run was planned; plan it anew"
        )
        raise OSError(errno.EIO, what, path)
    return data[BLOCK:]


def _read(file: _OpenFile, offset: int, size: int) -> bytes:
    """All bytes, fewer only where the file ends: one read gives 2 GiB at most."""
    data = os.pread(file.descriptor, size, offset)
    while 0 < len(data) < size and (more := os.pread(file.descriptor, size - len(data), offset + len(data))):
        data += more
    return data


def column_of(extension: str) -> str:
    """The column of the files with it: its own name, with a dot where another column has that."""
    return f".{extension}" if extension in OWN else extension


def member_type() -> Any:
    """The Arrow type of a cell."""
    import pyarrow as pa

    return pa.struct([("offset", pa.int64()), ("size", pa.int64())])
