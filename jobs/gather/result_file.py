"""ResultFile: result.h5 as places in a file, every dataset preallocated and contiguous.

Gather makes it and fills it with pwrite; verify and reductions find the same places in it. HDF5 has it open only
while it is created and while its last attributes are written.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jobs.errors import DamageError
from jobs.gather.chunk_writer import ChunkWriter, create_compressed
from jobs.gather.hdf5_file import UNREADABLE, create_dataset, create_file, writing
from jobs.storage.files import read_fully, write_fully
from jobs.storage.outputs import without_values
from jobs.storage.records import Output
from jobs.storage.seals import NO_SEAL, stamp

if TYPE_CHECKING:
    import h5py

# Rows of fill values are put in pieces of about this many bytes.
_PIECE = 1 << 20
# As many as a call takes (IOV_MAX of Linux).
_PIECES = 1024

MISSING, OK, FAILED = 0, 1, 2
"""What ``/status`` says of a sample."""

Put = Callable[[str, int, np.ndarray], None]
"""Writes or compares rows of a dataset: its name, the first row, the rows."""


@dataclass(frozen=True)
class Contents:
    """What a result will hold. ``items`` counts the items of each ragged output; the rest are counts and bytes.

    ``id_bytes`` is None where ids are row numbers.
    """

    rows: int
    outputs: tuple[Output, ...]
    items: Mapping[str, int]
    errors: int = 0
    kind_bytes: int = 0
    message_bytes: int = 0
    id_bytes: int | None = None

    def datasets(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The dtype and shape of each dataset."""
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        if self.id_bytes is None:
            found["id"] = ("<i8", (self.rows,))
        else:
            found.update(_strings("id", self.rows, self.id_bytes))
        found["status"] = ("|u1", (self.rows,))
        found["errors/row"] = ("<i8", (self.errors,))
        found.update(_strings("errors/kind", self.errors, self.kind_bytes))
        found.update(_strings("errors/message", self.errors, self.message_bytes))
        found["errors/attempts"] = ("<i4", (self.errors,))
        for output in self.outputs:
            if output.ragged:
                found[f"{output.name}/values"] = (output.dtype, (self.items[output.name], *output.shape))
                found[f"{output.name}/offsets"] = ("<i8", (self.rows + 1,))
            else:
                found[output.name] = (output.dtype, (self.rows, *output.shape))
        return found

    def encodings(self) -> dict[str, str]:
        """The groups that hold strings, and how these are encoded."""
        found = {output.name: output.encoding for output in self.outputs if output.encoding}
        found.update({"errors/kind": "utf-8", "errors/message": "utf-8"})
        return found if self.id_bytes is None else {"id": "utf-8", **found}


def _strings(name: str, rows: int, size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {f"{name}/values": ("|u1", (size,)), f"{name}/offsets": ("<i8", (rows + 1,))}


@dataclass(frozen=True)
class StoredDataset:
    """A dataset in the file: position of its first byte, dtype, shape."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


@contextmanager
def begun(path: Path, provenance: Mapping[str, Any]) -> "Iterator[h5py.File]":
    """An incomplete result with nothing in it, open; an existing file is emptied. Raises OSError where it cannot be written."""
    with writing(path), create_file(path) as file:
        file.attrs["seal"] = np.bytes_(NO_SEAL)  # before all else: it is looked for in the first bytes of the file
        file.attrs["complete"] = False
        file.attrs["provenance"] = json.dumps(provenance)
        yield file


@contextmanager
def filling(
    path: Path, descriptor: int, contents: Contents, provenance: Mapping[str, Any], compression: str = ""
) -> "Iterator[ResultFile]":
    """An incomplete result without data, to be filled; written by its ``descriptor``, too. Raises as ``begun`` does."""
    with begun(path, provenance) as file:
        places, writers = _create(file, contents, compression)
        result = ResultFile(descriptor, places, writers=writers)
        if result.writers:  # these are written by HDF5
            yield result
            for writer in result.writers.values():
                writer.flush()
    if not result.writers:
        yield result


def _create(
    file: "h5py.File", contents: Contents, compression: str
) -> tuple[dict[str, StoredDataset], dict[str, ChunkWriter]]:
    """All datasets: the places of those that are one piece, and how the outputs are written that are compressed."""
    places, writers = dict[str, StoredDataset](), dict[str, ChunkWriter]()
    outputs = {output.name for output in contents.outputs}
    for name, (dtype, shape) in contents.datasets().items():
        chunked = None
        if compression and name.partition("/")[0] in outputs:
            chunked = create_compressed(file, name, dtype, shape)
        if chunked is not None:
            writers[name] = ChunkWriter(chunked)
        offset = create_dataset(file, name, dtype, shape) if chunked is None else 0
        places[name] = StoredDataset(offset, np.dtype(dtype), shape)
    for name, encoding in contents.encodings().items():
        file[name].attrs["encoding"] = encoding
    file["status"].attrs["values"] = f"{MISSING} missing, {OK} ok, {FAILED} failed"
    return places, writers


def complete(path: Path, summary: Mapping[str, np.ndarray], seal: str | None) -> None:
    """Writes /summary (object arrays hold str), and last of all whether it is ``complete``: it is, if there is a seal."""
    import h5py

    with writing(path), h5py.File(path, "r+", locking=False) as file:
        group = file.create_group("summary")
        for name, value in summary.items():
            group.create_dataset(name, data=value, dtype=h5py.string_dtype() if value.dtype == object else None)
        file.flush()
        file.attrs["complete"] = seal is not None
        if seal:
            file.attrs.modify("seal", np.bytes_(stamp(seal)))


@dataclass(frozen=True)
class ResultFile:
    """The datasets of a result, read and written by their places, or as HDF5 has them where they are compressed.

    ``descriptor`` belongs to the caller; so do ``chunked``, the compressed datasets, open, of a file that is read.
    """

    descriptor: int
    places: Mapping[str, StoredDataset]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    writers: Mapping[str, ChunkWriter] = field(default_factory=dict)
    chunked: "Mapping[str, h5py.Dataset]" = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """A finished file, to be read. Raises DamageError where HDF5 cannot read it."""
        import h5py

        places, chunked = dict[str, StoredDataset](), dict[str, h5py.Dataset]()

        def add(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("summary/"):
                places[name] = StoredDataset(item.id.get_offset() or 0, item.dtype, item.shape)
                if item.chunks:
                    chunked[name] = item

        with ExitStack() as stack:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            try:
                file = stack.enter_context(h5py.File(path, "r", locking=False))
                file.visititems(add)
                attributes = dict(file.attrs)
                json.loads(attributes.get("provenance", "{}"))
            except UNREADABLE as error:
                raise DamageError(f"{path}: HDF5 cannot read it: {error}") from error
            yield cls(descriptor, places, attributes, chunked=chunked)

    def put(self, name: str, first: int, rows: np.ndarray) -> None:
        """Writes rows from row ``first`` on."""
        self.put_bytes(name, first, rows.reshape(-1).view(np.uint8).data)

    def put_bytes(self, name: str, first: int, data: memoryview) -> None:
        place = self.places[name]
        if name in self.writers:
            self.writers[name].put(first, data)
        else:
            write_fully(self.descriptor, data, place.offset + first * place.row_bytes)

    def put_pieces(self, name: str, first: int, pieces: Sequence[memoryview]) -> None:
        """Writes rows that lie in pieces in memory, with as few calls as the system allows."""
        place = self.places[name]
        if name in self.writers:
            for piece in pieces:
                self.put_bytes(name, first, piece)
                first += len(piece) // place.row_bytes
            return
        write_pieces(self.descriptor, pieces, place.offset + first * place.row_bytes)

    def read(self, name: str, first: int, stop: int) -> np.ndarray:
        """Rows ``[first, stop)``. Raises DamageError where the file ends before them."""
        place = self.places[name]
        data = self.read_bytes(name, first, stop)
        if len(data) < (stop - first) * place.row_bytes:
            raise DamageError(f"{name}: the file ends within rows {first}-{stop - 1}")
        return np.frombuffer(data, place.dtype).reshape(stop - first, *place.shape[1:])

    def read_bytes(self, name: str, first: int, stop: int) -> memoryview:
        """The bytes of rows ``[first, stop)``; fewer where the file ends, or they cannot be read."""
        place = self.places[name]
        if name in self.chunked:
            return self._decompressed(name, first, stop)
        data = memoryview(bytearray((stop - first) * place.row_bytes))
        return data[: read_fully(self.descriptor, data, place.offset + first * place.row_bytes)]

    def _decompressed(self, name: str, first: int, stop: int) -> memoryview:
        try:
            rows = np.ascontiguousarray(self.chunked[name][first:stop])
        except UNREADABLE:
            return memoryview(b"")
        return rows.reshape(-1).view(np.uint8).data


def write_pieces(descriptor: int, pieces: Sequence[memoryview], offset: int) -> None:
    """Writes pieces of memory one after another."""
    for at in range(0, len(pieces), _PIECES):
        some = pieces[at : at + _PIECES]
        size = sum(map(len, some))
        if os.pwritev(descriptor, some, offset) < size:  # signals, full disks: the same again, until it raises
            write_fully(descriptor, memoryview(b"".join(some)), offset)
        offset += size


def put_fill(put: Put, output: Output, start: int, stop: int) -> None:
    """Puts what the rows ``[start, stop)`` of a fixed output hold that have no value, in pieces."""
    step = max(_PIECE // max(output.row_bytes, 1), 1)
    rows = without_values((min(step, stop - start), *output.shape), np.dtype(output.dtype))
    for first in range(start, stop, step):
        put(output.name, first, rows[: stop - first])


def put_strings(put: Put, name: str, first: int, at: int, lengths: np.ndarray, values: bytes | memoryview) -> int:
    """Puts strings from row ``first`` on, whose bytes begin at ``at``; returns where they end."""
    put(f"{name}/offsets", first + 1, at + np.cumsum(lengths, dtype=np.int64))
    put(f"{name}/values", at, np.frombuffer(values, np.uint8))
    return at + len(values)
