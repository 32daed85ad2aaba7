"""Exchange: the shared memory through which samples go from the caller to the workers, and results back.

One anonymous file (memfd: no name that could be left behind), made by the caller and opened by the children of its
supervisor. It is sparse: every slot has a stretch of addresses to grow in, and only what was written takes memory. A
slot is one batch's for as long as that is under way; the table says which rows are in which slot. Slots are reused,
because touching fresh pages costs ten times the copy.
"""

import mmap
import os
import time
from contextlib import suppress
from typing import Any, Self

import numpy as np

from jobs.errors import RunError
from jobs.machine.memory_file import memory_file
from jobs.pickles import Packed
from jobs.storage.files import read_fully, write_fully

# Addresses of one region, bytes: as much as a batch can hold.
_STRIDE = 1 << 36
# What a region keeps when it is freed, bytes: small batches go on without new pages.
_KEPT = 1 << 18
_JOB, _TABLE, _SLOTS = range(3)
# Columns of the table: which rows are in a slot, the bytes of its samples and results, when a child began and ended it, in
# nanoseconds of the clock that all processes share (CLOCK_MONOTONIC), whether its samples are pickled apart from each other,
# and whether a child could not unpickle them.
_ROWS, _FED, _RESULT, _BEGAN, _ENDED, _APART, _UNREAD = range(7)
_COLUMNS = 7
# The rows are one word, first row and their number, since others look for theirs while it changes; 0: none.
_COUNT_BITS = 20
LARGEST_BATCH = (1 << _COUNT_BITS) - 1


class Region:
    """A stretch of the file that holds one packed value at a time: the lengths of its parts, then these.

    It is written and read with pwrite and pread: each mapping would take a descriptor, and a fault for every page.
    """

    def __init__(self, descriptor: int, number: int) -> None:
        self._descriptor = descriptor
        self._offset = number * _STRIDE
        self._used = 0

    def write(self, packed: Packed) -> int:
        """Stores a value; returns its size, bytes. Raises MemoryError where it is larger than 64 GiB."""
        parts = [memoryview(part).cast("B") for part in (packed.data, *packed.buffers)]
        head = np.array([len(parts), *map(len, parts)], np.int64).tobytes()
        size = len(head) + sum(map(len, parts))
        if size > _STRIDE:
            raise MemoryError(f"a batch of {size / 2**30:.0f} GiB; 64 GiB is the most")
        end = self._offset
        for part in (memoryview(head), *parts):
            write_fully(self._descriptor, part, end)
            end += len(part)
        self._used = max(self._used, size)
        return size

    def read(self, size: int) -> Any:
        """The value of ``size`` bytes that ``write`` stored; it shares no memory with the region."""
        self._used = max(self._used, size)
        (count,) = self._numbers(0, 1)
        lengths = self._numbers(1, count)
        offset, parts = self._offset + 8 * (1 + count), []
        for length in lengths:
            parts.append(np.empty(length, np.uint8).data)
            read_fully(self._descriptor, parts[-1], offset)
            offset += length
        return Packed(parts[0], parts[1:]).load()

    def _numbers(self, start: int, count: int) -> list[int]:
        data = os.pread(self._descriptor, 8 * count, self._offset + 8 * start)
        return [int(number) for number in np.frombuffer(data, np.int64)]

    def free(self) -> None:
        """Gives its memory back to the system, but for a little; some (gVisor) take none back before the end."""
        if self._used > _KEPT:
            size = -(-self._used // mmap.PAGESIZE) * mmap.PAGESIZE
            with suppress(OSError), mmap.mmap(self._descriptor, size, offset=self._offset) as memory:
                memory.madvise(mmap.MADV_REMOVE)
                self._used = 0


class Exchange:
    """The file, open: the job, the table, and ``slots`` slots for batches."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self.descriptor = descriptor
        self.slots = slots
        memory = mmap.mmap(descriptor, slots * _COLUMNS * 8, offset=_TABLE * _STRIDE)
        self._table = np.frombuffer(memory, np.int64).reshape(slots, _COLUMNS)
        self._job = Region(descriptor, _JOB)
        self._fed = [Region(descriptor, _SLOTS + 2 * slot) for slot in range(slots)]
        self._results = [Region(descriptor, _SLOTS + 2 * slot + 1) for slot in range(slots)]

    @classmethod
    def create(cls, slots: int) -> Self:
        """A new one, by the caller; raises RunError where the system allows no file of that size."""
        try:
            return cls(memory_file("launcher-exchange", (_SLOTS + 2 * slots) * _STRIDE), slots)
        except OSError as error:
            raise RunError(
                f"no shared memory for {slots} batches: {error}; is there a limit of file sizes (ulimit -f)?"
            ) from error

    @classmethod
    def open(cls, pid: int, descriptor: int, slots: int) -> Self:
        """That of process ``pid``, which has it open, for one of its descendants."""
        return cls(os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC), slots)

    # --- the job

    def put_job(self, packed: Packed) -> int:
        """Stores the job; returns its size, bytes."""
        return self._job.write(packed)

    def job(self, size: int) -> Any:
        return self._job.read(size)

    # --- samples

    def feed(self, slot: int, start: int, count: int, samples: Packed, *, apart: bool = False) -> int:
        """Stores the samples of ``count`` rows from ``start`` on; returns their size, bytes. ``apart``: each is Packed."""
        # Whole before the supervisor hears of the batch: its worker finds it by this row of the table.
        size = self._fed[slot].write(samples)
        self._table[slot] = start << _COUNT_BITS | count, size, 0, 0, 0, apart, False
        return size

    def slot_of(self, row: int) -> tuple[int, int]:
        """The slot of the batch that has this row, and the batch's first row; raises KeyError where there is none."""
        words = self._table[:, _ROWS].copy()
        starts = words >> _COUNT_BITS
        found = np.flatnonzero((starts <= row) & (row < starts + (words & LARGEST_BATCH)))
        if not len(found):
            raise KeyError(row)
        return int(found[0]), int(starts[found[0]])

    def begin(self, slot: int) -> tuple[list[Any], bool]:
        """The samples of the slot's batch, on which its worker now begins, and whether each of them is Packed.

        Raises whatever unpickling them raises.
        """
        self._table[slot, _BEGAN] = time.monotonic_ns()
        samples: list[Any] = self._fed[slot].read(int(self._table[slot, _FED]))
        return samples, bool(self._table[slot, _APART])

    def cannot_be_read(self, slot: int) -> None:
        """A child says that the samples of the slot's batch cannot be unpickled."""
        self._table[slot, _UNREAD] = True

    def unread(self, slot: int) -> bool:
        """Whether that was said."""
        return bool(self._table[slot, _UNREAD])

    # --- results

    def finish(self, slot: int, results: Packed) -> float:
        """Stores the results of the slot's batch; returns the seconds since its worker began."""
        self._table[slot, _RESULT] = self._results[slot].write(results)
        self._table[slot, _ENDED] = time.monotonic_ns()
        return self.seconds(slot)

    def seconds(self, slot: int) -> float:
        """What the slot's batch took, from its begin to its end."""
        return int(self._table[slot, _ENDED] - self._table[slot, _BEGAN]) / 1e9

    def results(self, slot: int) -> tuple[Any, int]:
        """The results of the slot's batch, and their size in bytes."""
        size = int(self._table[slot, _RESULT])
        return self._results[slot].read(size), size

    # --- the end

    def release(self, slot: int) -> None:
        """The slot's batch is through."""
        self._table[slot, _ROWS] = 0

    def free(self, slot: int) -> None:
        """Gives the memory of a slot back to the system; the next batch in it takes new one."""
        self._fed[slot].free()
        self._results[slot].free()

    def close(self) -> None:
        self._table = np.zeros((0, _COLUMNS), np.int64)  # the mapping goes with its last view
        os.close(self.descriptor)
