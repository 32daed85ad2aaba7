"""ByteFiles: bytes at places of a file, or of an object in a store; who reads them does not see which.

``least``: to read fewer takes as long.
"""

import os
import weakref
from contextlib import suppress
from functools import cached_property, lru_cache

from jobs.references.stores import describe, is_url, read_range

_OPEN_FILES = 64


class LocalFile:
    """A file; closed once nobody has it any more, so that one thread cannot close what another reads."""

    least = 4096

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
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


class RemoteFile:
    """An object of a store; each read is a request, in whose time some megabytes come."""

    least = 4 << 20

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def size(self) -> int:
        """In bytes, as the store tells it when it is asked first."""
        return describe(self._url).size

    def read(self, offset: int, size: int) -> bytes:
        """Fewer only where the object ends; raises OSError behind its end, too."""
        return read_range(self._url, offset, size)

    def expect_jumps(self) -> None:
        """A store reads nothing ahead."""


def open_bytes(place: str) -> LocalFile | RemoteFile:
    """The file of a path or URL. Raises OSError."""
    return RemoteFile(place) if is_url(place) else LocalFile(place)


kept_open = lru_cache(maxsize=_OPEN_FILES)(open_bytes)
"""The same, of those that were asked for last."""
