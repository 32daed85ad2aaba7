"""WindowReader: the blocks of neighbouring batches, read with few calls wherever they lie, and checked."""

from collections.abc import Sequence
from typing import Self

from jobs.gather.committed import Stored, Unlike
from jobs.gather.open_sources import OpenSources
from jobs.storage.blocks import block_names, digest
from jobs.storage.records import Block, Layout


class WindowReader:
    """Reads through one buffer: what a call returns holds until the next one."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray())
        self._sources = OpenSources()

    def read(self, batches: Sequence[Stored]) -> list[list[memoryview]]:
        """The bytes of the blocks of each batch, not checked; fewer where a file ends, none where it is gone."""
        places = sorted(
            (stored.source.rank, block.file, block.offset, block.size, at, number)
            for at, stored in enumerate(batches)
            for number, block in enumerate(stored.commit.blocks)
        )
        self._make_room(sum(place[3] for place in places))
        found = [[self._buffer[:0]] * len(stored.commit.blocks) for stored in batches]
        filled = first = 0
        while first < len(places):
            rank, file, offset, size, at, _ = places[first]
            stop, end = first + 1, offset + size
            while stop < len(places) and places[stop][:3] == (rank, file, end):
                end += places[stop][3]
                stop += 1
            whole = Block(file, offset, end - offset, "")
            data = self._sources.reader(batches[at].source).read(whole, self._buffer[filled:])
            for _, _, begins, size, at, number in places[first:stop]:
                found[at][number] = data[begins - offset : begins - offset + size]
            filled, first = filled + end - offset, stop
        return found

    def _make_room(self, size: int) -> None:
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))

    def close(self) -> None:
        self._sources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unlike(batches: Sequence[Stored], found: Sequence[Sequence[memoryview]]) -> list[Unlike]:
    """The batches whose bytes have another hash than their attempt says."""
    return [
        Unlike(stored, what)
        for stored, blocks in zip(batches, found, strict=True)
        if (what := _unlike_outputs(stored, blocks))
    ]


def _unlike_outputs(stored: Stored, blocks: Sequence[memoryview]) -> tuple[str, ...]:
    expected = stored.commit.blocks
    wrong = [at for at, block in enumerate(expected) if digest(blocks[at]) != block.hash]
    if not wrong:
        return ()
    files = stored.source.head.files
    if any(block.file not in files or not files[block.file].exists() for block in expected):
        return ("data file",)
    names = block_names(Layout(stored.source.outputs))
    return tuple(dict.fromkeys(names[at] for at in wrong))
