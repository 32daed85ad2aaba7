"""Slots: reused shared memory in which a pool worker hands its batches to its process without a copy on the other side.

A worker owns a few slots. It writes the arrays of a batch into one and sends their places; the process sees them as
arrays on the same memory, and gives the slot back by handing out the next piece. The memory is anonymous (memfd: no
name in /dev/shm that could leak, no limit from its size) and reused, because touching fresh pages costs ten times the
copy. Anything that is not an array, a tensor, or long text or bytes travels inside the message, pickled.
"""

import mmap
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NamedTuple

import numpy as np

from jobs.machine.memory_file import memory_file
from jobs.node.messages import NewSlot
from jobs.node.transfer import Transfer
from jobs.tensors import from_numpy, is_numpy_dtype

# Cache lines are 64 bytes; vector instructions want their operands aligned to them.
_ALIGNMENT = 64
# A slot grows by more than it must, since batches of different size would otherwise grow it again and again.
_GROWTH = 1.25
# Shorter text and bytes are cheaper in the message, and smaller arrays are cheaper joined as bytes first.
_LARGE = 4096
# What says nothing about a Job that could be faster: it is small.
_SMALL = (str, bytes, int, float, complex, type(None))
_said = False


class SlotArray(NamedTuple):
    """An array in a slot; ``kind`` is what becomes of it on the other side: array, tensor, bytes or str."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    kind: str = "array"


class SlotWriter:
    """The worker's end: puts batches into slots, making them larger as needed."""

    def __init__(self, connection: Connection, reader_pid: int) -> None:
        self._connection = connection
        self._reader_pid = reader_pid
        self._memory: dict[int, mmap.mmap] = {}

    def put(self, slot: int, batch: Any) -> Any:
        """Copies the arrays of ``batch`` into the slot; returns the batch with a SlotArray for each."""
        arrays: list[np.ndarray | Stacked] = []
        skeleton, size = _lay_out(batch, arrays, 0)
        if not arrays:
            return skeleton
        memory = self._reserve(slot, size)
        for place, array in zip(_slot_arrays(skeleton), arrays, strict=True):
            view = _view(place, memory)
            if isinstance(array, Stacked):
                array.copy_to(view)
            else:
                np.copyto(view, array)
        return skeleton

    def _reserve(self, slot: int, size: int) -> mmap.mmap:
        memory = self._memory.get(slot)
        if memory is None or len(memory) < size:
            size = max(mmap.PAGESIZE, int(size * _GROWTH))
            descriptor = memory_file("launcher-slot", size)
            # The message before the descriptor: it tells the reader to take one from the pipe. What the reader still has of
            # the smaller memory stays mapped there.
            self._connection.send(NewSlot(slot, size))
            send_handle(self._connection, descriptor, self._reader_pid)
            memory = self._memory[slot] = mmap.mmap(descriptor, size)
            os.close(descriptor)
        return memory


class Stacked:
    """Arrays of one shape and dtype that are still to be stacked: into the slot, without a copy in between."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays
        self.shape = (len(arrays), *arrays[0].shape)
        self.dtype = arrays[0].dtype
        self.nbytes = len(arrays) * arrays[0].nbytes

    @classmethod
    def of(cls, arrays: Sequence[Any]) -> "Stacked | np.ndarray":
        """As np.stack, which does it at once where arrays differ: it raises, or finds a common dtype."""
        first = arrays[0]
        kind, shape, dtype = type(first), first.shape, first.dtype
        for array in arrays:
            if type(array) is not kind or array.shape != shape or array.dtype != dtype:
                return np.stack(arrays)
        return np.stack(arrays) if dtype.hasobject or not dtype.isnative else cls(arrays)

    def copy_to(self, target: np.ndarray) -> None:
        """np.stack into ``target``, which is contiguous; without the view of each array that np.stack makes first."""
        if 0 < self.arrays[0].nbytes < _LARGE and self._join_into(target):
            return
        if len(self.shape) == 1:
            np.stack(self.arrays, out=target)
        else:
            length, each, *rest = self.shape
            np.concatenate(self.arrays, out=target.reshape(length * each, *rest))

    def _join_into(self, target: np.ndarray) -> bool:
        """bytes.join, which needs 20 ns a small array where concatenate needs 80; False where it cannot have them."""
        try:
            data = b"".join(self.arrays)  # type: ignore[arg-type]
        except (TypeError, BufferError):  # an array that is not contiguous
            return False
        target[...] = np.frombuffer(data, self.dtype).reshape(self.shape)
        return True


def stack_now(arrays: Sequence[Any]) -> np.ndarray:
    """As np.stack, and several times faster where there are many small arrays."""
    stacked = Stacked.of(arrays)
    if isinstance(stacked, np.ndarray):
        return stacked
    target = np.empty(stacked.shape, stacked.dtype)
    stacked.copy_to(target)
    return target


def _lay_out(value: Any, arrays: list[np.ndarray | Stacked], size: int) -> tuple[Any, int]:
    """Replaces arrays by SlotArrays, collecting them in order; returns the skeleton and the bytes needed."""
    match value:
        case dict():
            pairs = {}
            for key, item in value.items():
                pairs[key], size = _lay_out(item, arrays, size)
            return pairs, size
        case tuple() | list():
            items = []
            for item in value:
                item, size = _lay_out(item, arrays, size)
                items.append(item)
            return _same_sequence(value, items), size
    kind, array = _as_array(value)
    if array is None:
        _say_pickled(value)
        return value, size
    arrays.append(array)
    offset = -(-size // _ALIGNMENT) * _ALIGNMENT
    return SlotArray(offset, array.shape, array.dtype.str, kind), offset + array.nbytes


def _as_array(value: Any) -> tuple[str, np.ndarray | Stacked | None]:
    """The value's kind and its memory; None for what travels in the message."""
    if isinstance(value, bytes | str) and len(value) >= _LARGE:
        data = value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
        return type(value).__name__, np.frombuffer(data, np.uint8)
    if type(value).__module__ == "torch" and hasattr(value, "numpy") and is_numpy_dtype(value):
        return "tensor", value.detach().numpy()
    is_plain = isinstance(value, np.ndarray | Stacked) and not value.dtype.hasobject
    return "array", value if is_plain else None


def _say_pickled(value: Any) -> None:
    global _said
    if _said or isinstance(value, _SMALL) or type(value).__module__ == "numpy":
        return
    _said = True
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    print(
        f"batches hold {kind}, which is pickled; arrays, tensors, text and bytes go through shared memory", flush=True
    )


def _same_sequence(like: Any, items: list[Any]) -> Any:
    if hasattr(like, "_fields"):
        return type(like)(*items)
    return tuple(items) if isinstance(like, tuple) else items


def _slot_arrays(skeleton: Any) -> list[SlotArray]:
    match skeleton:
        case SlotArray():
            return [skeleton]
        case dict():
            return [place for item in skeleton.values() for place in _slot_arrays(item)]
        case tuple() | list():
            return [place for item in skeleton for place in _slot_arrays(item)]
    return []


def _view(place: SlotArray, memory: mmap.mmap) -> np.ndarray:
    return np.ndarray(place.shape, place.dtype, memory, place.offset)


class SlotReader:
    """The process's end for one worker: sees batches in the worker's slots."""

    def __init__(self, connection: Connection, transfer: Transfer) -> None:
        self._connection = connection
        self._transfer = transfer
        self._memory: dict[int, mmap.mmap] = {}

    def accept(self, new: NewSlot) -> None:
        """Maps the memory whose descriptor follows ``new`` in the pipe; the old one goes with its last array."""
        descriptor = recv_handle(self._connection)
        if new.number in self._memory:
            self._transfer.unlock(self._memory[new.number])
        self._memory[new.number] = mmap.mmap(descriptor, new.size)
        self._transfer.lock(self._memory[new.number])
        os.close(descriptor)

    def close(self) -> None:
        """No slot is used any more; the memory goes with its last array."""
        while self._memory:
            self._transfer.unlock(self._memory.popitem()[1])

    def get(self, slot: int, skeleton: Any) -> Any:
        """The batch, its arrays being views of the slot; valid until the slot is handed out again."""
        match skeleton:
            case SlotArray():
                array = _view(skeleton, self._memory[slot])
                return _FORMS[skeleton.kind](array)
            case dict():
                return {key: self.get(slot, item) for key, item in skeleton.items()}
            case tuple() | list():
                return _same_sequence(skeleton, [self.get(slot, item) for item in skeleton])
        return skeleton


_FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda array: array,
    "tensor": from_numpy,
    "bytes": lambda array: array.tobytes(),
    "str": lambda array: array.tobytes().decode(errors="surrogatepass"),
}
