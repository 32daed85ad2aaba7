"""TarMembers: the files within a tar, read at the place where the plan found them, so that nobody looks through the tar."""

import errno
from typing import Any

import pyarrow as pa
import xxhash

from jobs.references.byte_files import kept_open

OWN = ("id", "key", "tar", "size")
"""Columns of a tar's samples beside those of their files."""

MEMBER_TYPE = pa.struct([("offset", pa.int64()), ("size", pa.int64()), ("header", pa.int32()), ("digest", pa.uint64())])
"""Of a cell: where the bytes are; how long the header before them is, which has their name, size and time; its digest."""


def digest(header: bytes) -> int:
    """xxh3-64."""
    return xxhash.xxh3_64_intdigest(header)


def read_member(name: str, cell: dict[str, int], path: str, key: str) -> Any:
    """The bytes of a sample's file with that extension. Raises OSError where the tar is not as it was planned."""
    offset, size, header = cell["offset"], cell["size"], cell["header"]
    data = kept_open(path).read(offset - header, header + size)
    if len(data) < header + size or digest(data[:header]) != cell["digest"]:
        what = f"does not have the file {name} of {key} at byte {offset} any more: it has changed since the run was planned; "
        raise OSError(errno.EIO, f"{what}plan it anew", path)
    return data[header:]


def column_of(extension: str) -> str:
    """The column of the files with it: its own name, with a dot where another column has that."""
    return f".{extension}" if extension in OWN else extension
