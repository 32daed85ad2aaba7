"""What processes do to the files of a folder, call by call; and the same calls failing: by a library that is preloaded."""

import errno
import platform
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

_SOURCES = Path(__file__).parent
_COMPILER = shutil.which("cc") or shutil.which("gcc")
_HEAD = struct.Struct("<c3xIIQQQ")


class Call(NamedTuple):
    """A call that succeeded.

    ``kind``: c (file made), t (cut to ``size``), w (``data`` written at ``offset``), s (synced, a file or folder), m (folder
    made), r (renamed to ``other``), l (linked as ``other``), u (file removed), d (folder removed).
    """

    kind: str
    path: str
    other: str
    offset: int
    size: int
    data: bytes


def build_library(source: str, folder: Path) -> Path:
    """The compiled C source of tests/support; the test is skipped where that cannot be."""
    if _COMPILER is None or platform.machine() != "x86_64":
        pytest.skip("a library to preload needs a C compiler, and x86_64")
    library = folder / source.replace(".c", ".so")
    subprocess.run([_COMPILER, "-shared", "-fPIC", "-O1", "-w", "-o", library, _SOURCES / source, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class DiskCalls:
    """The library, and the folder of whose files it tells; ``own`` is a folder for what it writes."""

    library: Path
    root: Path
    own: Path

    @property
    def _log(self) -> Path:
        return self.own / "calls"

    @property
    def _count(self) -> Path:
        return self.own / "count"

    def recording(self) -> dict[str, str]:
        """The environment of processes whose calls are to be recorded."""
        self._log.unlink(missing_ok=True)
        return {**self._preloaded(), "DISK_LOG": str(self._log)}

    def failing(self, number: int, error: int = errno.EIO, *, ever: bool = False) -> dict[str, str]:
        """The environment of processes of whose calls, all together, number ``number`` fails, and with ``ever`` the rest."""
        own = {"DISK_FAIL": str(number), "DISK_ERRNO": str(error), **({"DISK_EVER": "1"} if ever else {})}
        return {**self.counting(), **own}

    def counting(self) -> dict[str, str]:
        """The environment of processes whose calls are counted."""
        self._count.write_bytes(bytes(8))
        return {**self._preloaded(), "DISK_COUNT": str(self._count)}

    def slow(self, milliseconds: int) -> dict[str, str]:
        """The environment of processes of whose calls each takes longer."""
        return {**self._preloaded(), "DISK_SLOW": str(milliseconds)}

    @property
    def counted(self) -> int:
        return int.from_bytes(self._count.read_bytes(), "little")

    def _preloaded(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "DISK_ROOT": str(self.root)}

    def recorded(self) -> list[Call]:
        """The calls, in an order in which each comes after those that it could know of."""
        return list(_read(self._log.read_bytes()))


def _read(log: bytes) -> Iterator[Call]:
    at = 0
    while at < len(log):
        kind, path, other, offset, size, data = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        parts = []
        for length in (path, other, data):
            parts.append(log[at : at + length])
            at += length
        yield Call(kind.decode(), parts[0].decode(), parts[1].decode(), offset, size, parts[2])


def disk_calls(folder: Path, root: Path) -> DiskCalls:
    """Built in ``folder``, for the files below ``root``."""
    own = folder / "disk_calls"
    own.mkdir()
    return DiskCalls(build_library("disk_calls.c", own), root, own)
