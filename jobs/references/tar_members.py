"""TarMembers: the files within a tar, read at the place where the plan found them, so that nobody looks through the tar."""

import errno
from typing import Any

from jobs.references.byte_files import kept_open
from jobs.references.tar_header import BLOCK, is_header_of

OWN = ("id", "key", "tar", "size")
"""Columns of a tar's samples beside those of their files."""


def read_member(name: str, cell: dict[str, int], path: str, key: str) -> bytes:
    """The bytes of a sample's file with that extension. Raises OSError where the tar is not as it was planned."""
    offset, size = cell["offset"], cell["size"]
    data = kept_open(path).read(offset - BLOCK, size + BLOCK)
    member = f"{key}.{name.removeprefix('.') if name in map(column_of, OWN) else name}"
    if len(data) < size + BLOCK or not is_header_of(data[:BLOCK], member.encode(), size):
        what = (
            f"does not have {member} at byte {offset} any more: it has changed since the run was planned; plan it anew"
        )
        raise OSError(errno.EIO, what, path)
    return data[BLOCK:]


def column_of(extension: str) -> str:
    """The column of the files with it: its own name, with a dot where another column has that."""
    return f".{extension}" if extension in OWN else extension


def member_type() -> Any:
    """The Arrow type of a cell."""
    import pyarrow as pa

    return pa.struct([("offset", pa.int64()), ("size", pa.int64())])
