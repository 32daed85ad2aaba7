"""Slots: reused shared memory in which a pool worker hands its batches to its process without a copy on the other side.

A worker owns a few slots. It writes the arrays of a batch into one and sends their places; the process sees them as
arrays on the same memory, and gives the slot back by handing out the next piece. The memory is anonymous (memfd: no
name in /dev/shm that could leak, no limit from its size) and reused, because touching fresh pages costs ten times the
copy. Arrays and tensors in dicts, lists and tuples are seen so; all else a batch holds is a pickle, which is a copy.
"""

import contextlib
import mmap
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from jobs.machine.memory_file import memory_file
from jobs.node.descriptors import receive_descriptor, send_descriptor
from jobs.node.log import say
from jobs.node.messages import NewSlot, Placed
from jobs.node.transfer import Transfer
from jobs.pickles import Packed, pickled
from jobs.stacked import ADDED, PLAIN, Stacked
from jobs.tensors import as_memory, from_memory, is_tensor

# Cache lines are 64 bytes; vector instructions want their operands aligned to them.
_ALIGNMENT = 64
# A slot grows by more than it must, since batches of different size would otherwise grow it again and again.
_GROWTH = 1.25
# A shorter pickle is cheaper in the message.
_LARGE = 4096
# What says nothing about a Job that could be faster: it is small, or as quick.
_QUICK = (str, bytes, int, float, complex, type(None))
# The kinds of dtypes that their text tells whole.
_TOLD = frozenset("biufcmMSU")
_said = False


class Items(list[Any]):
    """The samples of a piece that are processed one by one: a pickle, whose copy lets go of the slot at once."""


class SlotArray(NamedTuple):
    """An array in a slot; ``tensor`` is its torch dtype where it becomes a tensor on the other side."""

    offset: int
    shape: tuple[int, ...]
    dtype: Any
    tensor: str = ""


class SlotWriter:
    """The worker's end: puts batches into slots, making them larger as needed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._memory: dict[int, mmap.mmap] = {}

    def put(self, slot: int, batch: Any) -> Placed:
        """Copies the batch into the slot; raises whatever pickling it raises, OSError where there is no memory."""
        arrays: list[np.ndarray | Stacked] = []
        skeleton, size = _lay_out(batch, arrays, 0)
        data = pickled(skeleton)
        offset = _aligned(size)
        if len(data) >= _LARGE:
            size = offset + len(data)
        if arrays:
            size = max(size, 1)
        if size:
            memory = self._reserve(slot, size)
            for place, array in zip(_slot_arrays(skeleton), arrays, strict=True):
                view = _view(place, memory)
                if isinstance(array, Stacked):
                    array.copy_to(view)
                else:
                    np.copyto(view, array)
            if len(data) >= _LARGE:
                memory[offset:size] = data
        return Placed(data if len(data) < _LARGE else (offset, len(data)), size)

    def _reserve(self, slot: int, size: int) -> mmap.mmap:
        memory = self._memory.get(slot)
        if memory is None or len(memory) < size:
            self._memory.pop(slot, None)  # where there is not room for both, the reader keeps what it still has of it
            size = max(mmap.PAGESIZE, int(size * _GROWTH))
            descriptor = memory_file("launcher-slot", size)
            try:
                # Mapped before it is announced: where that fails, the reader would take later batches from a memory that
                # this side does not write to.
                memory = self._map(descriptor, size)
                # The message before the descriptor: it tells the reader to take one from the pipe.
                self._connection.send(NewSlot(slot, size))
                send_descriptor(self._connection, descriptor)
            finally:
                os.close(descriptor)
            self._memory[slot] = memory
        return memory

    def _map(self, descriptor: int, size: int) -> mmap.mmap:
        """Where addresses are short, those of the other slots are given up, which get new memory when it is their turn."""
        try:
            return mmap.mmap(descriptor, size)
        except OSError:
            self._memory.clear()
            return mmap.mmap(descriptor, size)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _lay_out(value: Any, arrays: list[np.ndarray | Stacked], size: int) -> tuple[Any, int]:
    """Replaces arrays by SlotArrays, collecting them in order; returns the skeleton and the bytes needed.

    Only in containers that are nothing but these: what else one of a derived class has would be lost.
    """
    if type(value) is dict:
        pairs = {}
        for key, item in value.items():
            pairs[key], size = _lay_out(item, arrays, size)
        return pairs, size
    if _is_sequence(value):
        items = []
        for item in value:
            item, size = _lay_out(item, arrays, size)
            items.append(item)
        return _same_sequence(value, items), size
    array, tensor = _as_array(value)
    if array is None:
        _say_pickled(value)
        return value, size
    arrays.append(array)
    offset = _aligned(size)
    dtype = array.dtype.str if array.dtype.kind in _TOLD and array.dtype.isbuiltin != ADDED else array.dtype
    return SlotArray(offset, array.shape, dtype, tensor), offset + array.nbytes


def _as_array(value: Any) -> tuple[np.ndarray | Stacked | None, str]:
    """The value's memory, and its torch dtype if it is a tensor; (None, "") for what is pickled."""
    if type(value) in PLAIN or type(value) is Stacked:
        return (None if value.dtype.hasobject else value), ""
    return (as_memory(value) if is_tensor(value) and not value.requires_grad else None) or (None, "")


def _say_pickled(value: Any) -> None:
    global _said
    if _said or isinstance(value, (*_QUICK, Items)) or type(value).__module__ == "numpy":
        return
    _said = True
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    say(f"batches hold {kind}, which is pickled; arrays, tensors, text and bytes go through shared memory")


def _is_sequence(value: Any) -> bool:
    """Whether it is a list, a tuple or a named tuple, and no SlotArray."""
    kind = type(value)
    if kind is list or kind is tuple:
        return True
    return isinstance(value, tuple) and kind.__bases__ == (tuple,) and hasattr(kind, "_make") and kind is not SlotArray


def _same_sequence(like: Any, items: list[Any]) -> Any:
    if type(like) is list:
        return items
    return tuple(items) if type(like) is tuple else type(like)._make(items)


def _slot_arrays(skeleton: Any) -> Iterator[SlotArray]:
    if type(skeleton) is SlotArray:
        yield skeleton
    elif type(skeleton) is dict or _is_sequence(skeleton):
        for item in skeleton.values() if type(skeleton) is dict else skeleton:
            yield from _slot_arrays(item)


def _view(place: SlotArray, memory: mmap.mmap) -> np.ndarray:
    return np.ndarray(place.shape, place.dtype, memory, place.offset)


class _Memory:
    """The reader's side of a slot: mapped where there are addresses for it, else looked for again at the next batch."""

    def __init__(self, descriptor: int, size: int, transfer: Transfer) -> None:
        self._descriptor = descriptor
        self._size = size
        self._transfer = transfer
        self._mapped: mmap.mmap | None = None

    def mapped(self, size: int) -> mmap.mmap:
        """At least ``size`` bytes of it; raises OSError where that is more than there are addresses for."""
        if self._mapped is None or len(self._mapped) < size:
            self._unmap()
            try:
                self._mapped = mmap.mmap(self._descriptor, self._size)
            except OSError:
                self._mapped = mmap.mmap(self._descriptor, size)
            else:
                self._close_descriptor()
            self._transfer.lock(self._mapped)
        return self._mapped

    def _unmap(self) -> None:
        if self._mapped is not None:
            self._transfer.unlock(self._mapped)
            self._mapped = None  # it goes with its last array

    def _close_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        self._unmap()
        self._close_descriptor()


class SlotReader:
    """The process's end for one worker: sees batches in the worker's slots."""

    def __init__(self, connection: Connection, transfer: Transfer) -> None:
        self._connection = connection
        self._transfer = transfer
        self._memory: dict[int, _Memory] = {}

    def accept(self, new: NewSlot) -> None:
        """Takes the memory whose descriptor follows ``new`` in the pipe."""
        memory = _Memory(receive_descriptor(self._connection), new.size, self._transfer)
        if old := self._memory.pop(new.number, None):
            old.close()
        self._memory[new.number] = memory
        with contextlib.suppress(OSError):  # no addresses: where a batch needs them, that one fails
            memory.mapped(new.size)

    def close(self) -> None:
        """No slot is used any more; the memory goes with its last array."""
        while self._memory:
            self._memory.popitem()[1].close()

    def get(self, slot: int, placed: Placed) -> Any:
        """The batch, its arrays being views of the slot; valid until the slot is handed out again.

        Raises whatever unpickling raises, and OSError where the slot cannot be mapped.
        """
        memory = self._memory[slot].mapped(placed.size) if placed.size else None
        if isinstance(placed.pickle, bytes):
            return _fill(Packed(placed.pickle, ()).load(), memory)
        assert memory is not None
        offset, length = placed.pickle
        return _fill(Packed(memoryview(memory)[offset : offset + length], ()).load(), memory)

    def poison(self, slot: int, placed: Placed) -> None:
        """Overwrites a batch that is through, so that whatever still looks at it shows: -1, NaN for floats."""
        if placed.size:
            memory = self._memory[slot].mapped(placed.size)
            np.frombuffer(memory, np.uint8, placed.size)[:] = 0xFF


def _fill(skeleton: Any, memory: mmap.mmap | None) -> Any:
    """The skeleton with arrays in their places."""
    if type(skeleton) is SlotArray:
        assert memory is not None
        array = _view(skeleton, memory)
        return from_memory(array, skeleton.tensor) if skeleton.tensor else array
    if type(skeleton) is dict:
        return {key: _fill(item, memory) for key, item in skeleton.items()}
    if _is_sequence(skeleton):
        return _same_sequence(skeleton, [_fill(item, memory) for item in skeleton])
    return skeleton
