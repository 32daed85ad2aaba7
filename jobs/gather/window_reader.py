"""WindowReader: the blocks of neighbouring batches, read with few calls wherever they lie, and checked."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Self

from jobs.gather.committed import Stored, Unlike
from jobs.gather.sources import Source
from jobs.storage.blocks import BlockReader, block_names, digest
from jobs.storage.records import Block, Layout

# Attempts whose data files are open at a time.
_OPEN_SOURCES = 32


class WindowReader:
    """Reads through one buffer: what a call returns holds until the next one."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray())
        self._readers: OrderedDict[int, BlockReader] = OrderedDict()

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
            data = self._reader(batches[at].source).read(whole, self._buffer[filled:])
            for _, _, begins, size, at, number in places[first:stop]:
                found[at][number] = data[begins - offset : begins - offset + size]
            filled, first = filled + end - offset, stop
        return found

    def _make_room(self, size: int) -> None:
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))

    def _reader(self, source: Source) -> BlockReader:
        reader = self._readers.get(source.rank)
        if reader is None:
            reader = BlockReader(source.head.files)
            if len(self._readers) >= _OPEN_SOURCES:
                self._readers.popitem(last=False)[1].close()
            self._readers[source.rank] = reader
        self._readers.move_to_end(source.rank)
        return reader

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

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
