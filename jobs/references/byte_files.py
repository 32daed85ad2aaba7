"""ByteFile: bytes at places of a file or of an object in a store; of either kind, the reader does not see which."""

import os
from contextlib import suppress
from functools import lru_cache
from typing import Protocol

from jobs.references.stores import describe, is_url, read_range

_OPEN_FILES = 64


class ByteFile(Protocol):
    """``size`` in bytes; ``least``: to ask for less takes as long."""

    size: int
    least: int

    def read(self, offset: int, size: int) -> bytes:
        """Fewer only where the file ends. Raises OSError."""


class LocalFile:
    """A file; closed once nobody has it any more, so that one thread cannot close what another reads."""

    least = 4096

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        """By more than one read where it is over 2 GiB."""
        data = os.pread(self._descriptor, size, offset)
        while 0 < len(data) < size and (more := os.pread(self._descriptor, size - len(data), offset + len(data))):
            data += more
        return data

    def expect_jumps(self) -> None:
        """Has the kernel read no more than it is asked for: what lies between is passed over."""
        with suppress(OSError):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # it could be opened
            os.close(self._descriptor)


class RemoteFile:
    """An object of a store; each read is a request, in whose time some megabytes come."""

    least = 4 << 20

    def __init__(self, url: str) -> None:
        self._url = url
        self.size = describe(url).size

    def read(self, offset: int, size: int) -> bytes:
        """None at all behind the end, which a store would call an error."""
        return read_range(self._url, offset, min(size, self.size - offset)) if offset < self.size else b""

    def expect_jumps(self) -> None:
        """A store reads nothing ahead."""


def open_bytes(place: str) -> LocalFile | RemoteFile:
    """The file of a path or URL. Raises OSError."""
    return RemoteFile(place) if is_url(place) else LocalFile(place)


kept_open = lru_cache(maxsize=_OPEN_FILES)(open_bytes)
"""The same, of those that were asked for last."""
