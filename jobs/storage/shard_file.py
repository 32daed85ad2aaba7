"""ShardFile: the preallocated HDF5 file of a shard, and its values files.

Created by the supervisor once the first batch tells the outputs, then never opened by HDF5 while the task runs: rows go
in with pwrite at dataset offset + row x row bytes, written by the device processes, read back by resume and gather.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import xxhash

from jobs.storage.files import read_fully, replacing, start_writing, write_fully
from jobs.storage.outputs import Column, Columns
from jobs.storage.records import Commit, Layout, Output, Segment, Shard
from jobs.storage.rundir import RunDir

if TYPE_CHECKING:
    import h5py

# Page-aligned datasets let file systems that share blocks (XFS, btrfs) copy without moving data.
ALIGNMENT = 4096
# A process has the disk begin after so many bytes. Left to the kernel, all would wait for a sync: of 64 MB, 40 ms at the end
# of a shard that took 600.
_BEGIN = 8 << 20


def create_file(path: Path) -> "h5py.File":
    """An empty HDF5 file, open, whose datasets will be page-aligned.

    Without HDF5's own locks: some network file systems refuse them, or mix them up with ours.
    """
    import h5py

    return h5py.File(path, "w", locking=False, alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT)


def create_dataset(
    file: "h5py.File", name: str, dtype: str, shape: Sequence[int], attributes: Mapping[str, str] | None = None
) -> int:
    """Makes a contiguous dataset whose space exists at once and is not filled; returns its offset in the file, bytes.

    A dataset without elements has no place in the file; its offset is 0.
    """
    import h5py

    space = h5py.h5s.create_simple(tuple(shape))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # the same data gives the same bytes
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, properties, links))
    dataset.attrs.update(attributes or {})
    return int(dataset.id.get_offset() or 0)


def dataset_name(output: Output) -> str:
    return f"{output.name}/lengths" if output.ragged else output.name


def create_shard_file(path: Path, shard: Shard, outputs: Sequence[Output]) -> Layout:
    """Makes the file for all rows of a shard, whole or not at all; returns the outputs with their offsets.

    The caller holds the shard's lock.
    """
    with replacing(path, alone=True) as temporary, create_file(temporary) as file:
        file.attrs.update({"shard": shard.index, "start": shard.start, "stop": shard.stop})
        placed = tuple(replace(output, offset=_create_output(file, shard, output)) for output in outputs)
    return Layout(placed)


def _create_output(file: "h5py.File", shard: Shard, output: Output) -> int:
    if output.ragged:
        return create_dataset(file, dataset_name(output), "<i8", (shard.rows,), {"dtype": output.dtype})
    return create_dataset(file, dataset_name(output), output.dtype, (shard.rows, *output.shape))


def digest(data: memoryview) -> str:
    """xxh3-64 of some bytes, 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(data)


def _bytes(array: np.ndarray) -> memoryview:
    # reshape first: a view of an array without elements, or of zero dimensions, cannot be cast.
    return array.reshape(-1).view(np.uint8).data


@dataclass
class ShardFile:
    """A shard's part or done file and its values files, open for reading or writing rows."""

    shard: Shard
    layout: Layout
    descriptor: int
    values: dict[str, int]
    _waiting: int = field(default=0, init=False)

    @classmethod
    def open(cls, run: RunDir, shard: Shard, layout: Layout, *, done: bool = False, write: bool = False) -> Self:
        """Opens the files; raises FileNotFoundError where one is missing."""
        flags = os.O_CLOEXEC | (os.O_RDWR if write else os.O_RDONLY)
        path = run.shard_done(shard.index) if done else run.shard_part(shard.index)
        descriptor = os.open(path, flags)
        file = cls(shard, layout, descriptor, {})
        try:
            for output in layout.outputs:
                if output.ragged:
                    create = os.O_CREAT if write else 0
                    file.values[output.name] = os.open(run.values(shard.index, output.name), flags | create, 0o666)
        except OSError:
            file.close()
            raise
        return file

    def write(self, start: int, columns: Columns, ends: Mapping[str, int]) -> tuple[dict[str, str], dict[str, Segment]]:
        """Writes the rows from manifest row ``start`` on; ``ends`` says where ragged values go in their files.

        Returns the hash of each output's rows and the segments of the ragged ones. Raises OSError (disk full ...).
        """
        hashes: dict[str, str] = {}
        segments: dict[str, Segment] = {}
        for output in self.layout.outputs:
            column = columns[output.name]
            if column.lengths is not None:
                segments[output.name] = self._write_values(output.name, column, ends[output.name])
            rows = _bytes(column.data if column.lengths is None else column.lengths)
            write_fully(self.descriptor, rows, self._position(output, start))
            hashes[output.name] = digest(rows)
            self._waiting += column.data.nbytes
        self._start_writing()
        return hashes, segments

    def _start_writing(self) -> None:
        if self._waiting >= _BEGIN:
            self._waiting = 0
            for descriptor in self._descriptors():
                start_writing(descriptor)

    def _write_values(self, name: str, column: Column, end: int) -> Segment:
        data = _bytes(column.data)
        write_fully(self.values[name], data, end)
        return Segment(end, len(data), digest(data))

    def _position(self, output: Output, row: int) -> int:
        return output.offset + (row - self.shard.start) * output.row_bytes

    def read_rows(self, output: Output, start: int, stop: int, into: memoryview | None = None) -> memoryview:
        """The bytes of rows ``[start, stop)``: of the values (fixed) or the int64 lengths (ragged).

        Fewer bytes where the file ends. ``into`` is a buffer to use, of at least that size.
        """
        return self._read(self.descriptor, self._position(output, start), (stop - start) * output.row_bytes, into)

    def read_segment(self, name: str, segment: Segment, into: memoryview | None = None) -> memoryview:
        """The bytes of one batch's values, likewise."""
        return self._read(self.values[name], segment.offset, segment.size, into)

    @staticmethod
    def _read(descriptor: int, offset: int, size: int, into: memoryview | None) -> memoryview:
        buffer = memoryview(bytearray(size)) if into is None else into[:size]
        return buffer[: read_fully(descriptor, buffer, offset)]

    def damaged(self, commit: Commit) -> list[str]:
        """Names of the outputs whose bytes are not those that the commit says were written."""
        outputs = [output for output in self.layout.outputs if output.name in commit.hashes]
        return [output.name for output in outputs if not self._intact(output, commit)]

    def _intact(self, output: Output, commit: Commit) -> bool:
        if digest(self.read_rows(output, commit.start, commit.stop)) != commit.hashes[output.name]:
            return False
        segment = commit.segments.get(output.name)
        return segment is None or digest(self.read_segment(output.name, segment)) == segment.hash

    def value_ends(self) -> dict[str, int]:
        """The size of each values file, bytes: where the next values go."""
        return {name: os.fstat(descriptor).st_size for name, descriptor in self.values.items()}

    def sync(self) -> None:
        """After it returns, all rows written so far, by any process of this machine, survive a crash of it."""
        for descriptor in self._descriptors():
            os.fdatasync(descriptor)

    def close(self) -> None:
        for descriptor in self._descriptors():
            os.close(descriptor)

    def _descriptors(self) -> tuple[int, ...]:
        return self.descriptor, *self.values.values()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
