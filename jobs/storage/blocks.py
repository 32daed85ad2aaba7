"""Blocks: the bytes of batches in the data files of an attempt, appended by a device process, read back by gather.

A batch's blocks lie one after another: of each output its rows, of a ragged one the lengths of its rows and then their
values. Where they are is in the commit, nowhere else: a batch that was written and not committed is never read.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import xxhash

from jobs.storage.files import WriteBehind, read_fully, write_fully
from jobs.storage.outputs import Columns
from jobs.storage.records import Block, Layout


def digest(data: memoryview) -> str:
    """xxh3-64 of some bytes, 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(data)


def _bytes(array: np.ndarray) -> memoryview:
    # reshape first: a view of an array without elements, or of zero dimensions, cannot be cast.
    return array.reshape(-1).view(np.uint8).data


class BlockWriter:
    """Appends batches to data file ``number`` of an attempt. No other process writes to it."""

    def __init__(self, path: Path, number: int) -> None:
        """Goes on after what is there: a predecessor that died may have left half a batch, which nobody commits."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self._number = number
        self._end = os.fstat(self._descriptor).st_size
        self._behind = WriteBehind(self._descriptor)

    def append(self, layout: Layout, columns: Columns) -> tuple[Block, ...]:
        """Writes a batch; returns its blocks. Raises OSError (disk full ...); what was written then is never read."""
        blocks = []
        for output in layout.outputs:
            column = columns[output.name]
            arrays = [column.data] if column.lengths is None else [column.lengths, column.data]
            blocks += [self._write(_bytes(array)) for array in arrays]
        return tuple(blocks)

    def append_rows(self, layout: Layout, columns: Columns) -> list[tuple[Block, ...]]:
        """Writes batches of one row each, all together; returns the blocks of each."""
        found: list[list[Block]] = []
        for output in layout.outputs:
            column = columns[output.name]
            if column.lengths is None:
                found.append(self._write_parts(_bytes(column.data), [output.item_bytes] * column.rows))
            else:
                found.append(self._write_parts(_bytes(column.lengths), [output.row_bytes] * column.rows))
                sizes = (column.lengths * output.item_bytes).tolist()
                found.append(self._write_parts(_bytes(column.data), sizes))
        return list(zip(*found, strict=True))

    def _write(self, data: memoryview) -> Block:
        return self._write_parts(data, [len(data)])[0]

    def _write_parts(self, data: memoryview, sizes: Sequence[int]) -> list[Block]:
        """Writes blocks that lie one after another."""
        write_fully(self._descriptor, data, self._end)
        blocks, at = [], 0
        for size in sizes:
            blocks.append(Block(self._number, self._end + at, size, digest(data[at : at + size])))
            at += size
        self._end += at
        self._behind.add(at)
        return blocks

    def close(self) -> None:
        os.close(self._descriptor)


class BlockReader:
    """The data files of one attempt, by number, opened when they are first read."""

    def __init__(self, files: Mapping[int, Path]) -> None:
        self._files = files
        self._descriptors: dict[int, int] = {}

    def read(self, block: Block, into: memoryview | None = None) -> memoryview:
        """The bytes of a block, not checked; fewer where the file ends, none where it is gone. ``into``: a buffer to use."""
        buffer = memoryview(bytearray(block.size)) if into is None else into[: block.size]
        descriptor = self._open(block.file)
        return buffer[: 0 if descriptor is None else read_fully(descriptor, buffer, block.offset)]

    def _open(self, number: int) -> int | None:
        if number not in self._descriptors:
            try:
                self._descriptors[number] = os.open(self._files[number], os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, KeyError):
                return None
        return self._descriptors[number]

    def damaged(self, blocks: Sequence[Block]) -> list[int]:
        """Positions of the blocks whose bytes are not those that were written."""
        return [at for at, block in enumerate(blocks) if digest(self.read(block)) != block.hash]

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def block_names(layout: Layout) -> list[str]:
    """The output that each block of a batch belongs to, in order."""
    return [output.name for output in layout.outputs for _ in range(1 + output.ragged)]
