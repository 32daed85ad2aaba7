"""Windows: the rows of a result cut into pieces that are read and written at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.gather.committed import Stored

# Bytes read and written at once: few system calls, and still in the processor's cache from read to write.
BLOCK = 1 << 20
# What a batch costs beside its bytes, and a failed sample of it: they bound how many make up a window.
_EACH = 256
_EACH_FAILED = 1024
# Rows without values are many at a time; of each, eight bytes of an offset are written.
_FILL_ROWS = 1 << 17


@dataclass(frozen=True, slots=True)
class Window:
    """Rows ``[start, stop)``: batches one after another that have blocks; or rows that hold fill values.

    The latter have batches too where all samples of these failed, and none where they are missing.
    """

    start: int
    stop: int
    batches: tuple[Stored, ...] = ()

    @property
    def has_values(self) -> bool:
        return bool(self.batches and self.batches[0].commit.blocks)


def windows(batches: Iterable[Stored], rows: int) -> Iterator[Window]:
    """All of ``[0, rows)``: neighbouring batches of up to BLOCK bytes together (at least one), and fills."""
    group: list[Stored] = []
    at, room = 0, BLOCK
    for stored in batches:
        commit = stored.commit
        size = _EACH + _EACH_FAILED * len(commit.failed) + sum([block.size for block in commit.blocks])
        if group and (commit.start > at or size > room or bool(commit.blocks) != bool(group[0].commit.blocks)):
            yield _window(group)
            group, room = [], BLOCK
        if commit.start > at:
            yield from _missing(at, commit.start)
        group.append(stored)
        at, room = commit.stop, room - size
    if group:
        yield _window(group)
    yield from _missing(at, rows)


def _window(group: list[Stored]) -> Window:
    return Window(group[0].commit.start, group[-1].commit.stop, tuple(group))


def _missing(start: int, stop: int) -> Iterator[Window]:
    for first in range(start, stop, _FILL_ROWS):
        yield Window(first, min(first + _FILL_ROWS, stop))
