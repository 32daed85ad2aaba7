"""Observed: what a piece of work opened, listed and took of the memory, counted and not timed."""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_current: list["Observed"] = []


@dataclass
class Observed:
    """Below ``folder``: ``opened`` files and ``listed`` folders by kind, in all threads; ``memory``: bytes that it grew by."""

    folder: Path
    opened: Counter[str] = field(default_factory=Counter)
    listed: int = 0
    memory: int = 0

    def note(self, event: str, path: str) -> None:
        if event == "open":
            self.opened[_kind(Path(path))] += 1
        else:
            self.listed += 1


def _kind(path: Path) -> str:
    """A journal, a data file, a claim; else its name, which few files have."""
    if path.suffix in (".journal", ".data"):
        return path.suffix[1:]
    return "claim" if path.parent.suffix == ".claims" else path.name


def _hear(event: str, values: tuple[Any, ...]) -> None:
    if (
        _current
        and event in ("open", "os.listdir", "os.scandir")
        and values
        and isinstance(values[0], str | os.PathLike)
    ):
        path = os.fspath(values[0])
        if isinstance(path, str) and path.startswith(f"{_current[-1].folder}{os.sep}"):
            _current[-1].note(event, path)


_hearing: list[bool] = []


@contextmanager
def observed(folder: Path) -> Iterator[Observed]:
    """What happens inside, in this process."""
    if not _hearing:  # a hook cannot be taken away again
        sys.addaudithook(_hear)
        _hearing.append(True)
    found = Observed(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory("VmRSS")
    _current.append(found)
    try:
        yield found
    finally:
        _current.remove(found)
        found.memory = max(0, _memory("VmHWM") - before)


def _memory(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) << 10
