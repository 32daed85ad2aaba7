"""Logs: the text that array tasks wrote, one file a worker, all its attempts at all shards that it had."""

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from jobs.storage.stamps import STAMP
from launcher.runs.log_choice import LogChoice

LogText: TypeAlias = tuple[Path, bytes]

_TAIL = 4096
_READ = 1 << 16
_TICK = 0.25
# Seconds between looks at who works on the rows: that reads something of every attempt.
_LOOK = 2.0
_NEVER = threading.Event()
# Lines of the same process that are shown before and after one about a sample; a traceback is among these.
_BEFORE, _AFTER = 10, 25
_ROWS = re.compile(rb"\bsamples? (\d{1,18})(?: to (\d{1,18}))?\b")


def last_words(path: Path) -> str:
    """The last line of a log that says something, without its stamp; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return ""
    words = (STAMP.sub(b"", line, count=1).decode(errors="replace").strip() for line in reversed(lines))
    return next(filter(None, words), "")


def read_logs(
    choice: LogChoice,
    *,
    follow: bool = False,
    tail: int | None = None,
    wait: Callable[[float], bool] = _NEVER.wait,
) -> Iterator[LogText]:
    """What the logs say, bit by bit, with the file that it is of; of those there are now, the last ``tail`` lines of each.

    With ``follow`` also what is appended, until the rows are done or nobody runs them. ``wait`` waits for so many seconds, and
    says whether nobody wants any more.
    """
    offsets: dict[Path, int] = {}
    looked, is_first = time.monotonic(), True
    while True:
        is_last = not (follow and choice.goes_on())
        for path in choice.paths():
            with path.open("rb") as file:
                known = _last_lines(file, tail) if is_first and tail is not None else 0
                file.seek(offsets.get(path, known))
                while text := file.read(_READ):
                    yield path, text
                offsets[path] = file.tell()
        if is_last or wait(_TICK):
            return
        is_first = False
        if time.monotonic() - looked > _LOOK:
            choice.again()
            looked = time.monotonic()


def _last_lines(file: BinaryIO, count: int) -> int:
    """Where the last lines of a file begin; one that has no end yet is one."""
    at = size = file.seek(0, os.SEEK_END)
    text = b""
    while at and text[:-1].count(b"\n") < count:
        step = min(_READ, at)
        at -= step
        file.seek(at)
        text = file.read(step) + text
    lines = text[:-1].split(b"\n")  # without the end of the last one
    return max(0, size - len(b"\n".join(lines[-count:])) - 1) if count else size


def about_rows(log: Iterable[LogText], rows: Collection[int], batch_size: int) -> Iterator[LogText]:
    """Of logs, the lines that name one of some samples by its row, with some of the same process before and after each.

    Alone or within a batch, not within all that an array task has claimed.
    """
    before: dict[tuple[Path, bytes], deque[bytes]] = {}
    left: dict[tuple[Path, bytes], int] = {}
    speaker = b""
    for path, line in whole_lines(log):
        speaker = stamp["speaker"] if (stamp := STAMP.match(line)) else speaker
        by = path, speaker
        named = [(int(found[1]), int(found[2] or found[1])) for found in _ROWS.finditer(line)]
        if any(first <= row <= last < first + batch_size for first, last in named for row in rows):
            yield from ((path, earlier) for earlier in before.pop(by, ()))
            left[by] = 1 + _AFTER
        if left.get(by):
            left[by] -= 1
            yield path, line
        else:
            before.setdefault(by, deque(maxlen=_BEFORE)).append(line)


def whole_lines(log: Iterable[LogText]) -> Iterator[LogText]:
    """Whole lines, each with its file; of a file's last one what there is of it."""
    begun: dict[Path, bytes] = {}
    for path, text in log:
        *lines, begun[path] = (begun.get(path, b"") + text).split(b"\n")
        yield from ((path, line + b"\n") for line in lines)
    yield from ((path, line) for path, line in begun.items() if line)
