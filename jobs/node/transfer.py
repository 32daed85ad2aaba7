"""Transfer: a loaded batch on its way to the device of a process, while the process computes the batch before it.

On a GPU, the torch tensors of a batch are copied by a stream of their own, out of slots that are page-locked, so that
the copy needs neither the CPU nor the computing stream (CUDA C++ Programming Guide, "Asynchronous Concurrent
Execution"). numpy arrays stay where they are: what becomes of them is for the Job to say. On a CPU nothing is copied.
"""

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any, Protocol

# A batch that has not arrived yet; calling it waits, and raises what copying raised.
Arriving = Callable[[], Any]


class Transfer(Protocol):
    """``on_their_way`` is how many batches are copied while another is processed: so many slots more are in use."""

    on_their_way: int

    def start(self, batch: Any) -> Arriving: ...
    def lock(self, memory: mmap.mmap) -> None:
        """Prepares a slot's memory for copying."""

    def unlock(self, memory: mmap.mmap) -> None:
        """The memory is going to be unmapped."""


class Stay:
    """The transfer of a CPU process: batches are where they must be."""

    on_their_way = 0

    def start(self, batch: Any) -> Arriving:
        return lambda: batch

    def lock(self, memory: mmap.mmap) -> None:
        pass

    def unlock(self, memory: mmap.mmap) -> None:
        pass


class ToGpu:
    """The transfer of a process on ``device`` ("cuda:0"); ``torch`` is the module, given so that it can be stood in for."""

    on_their_way = 1

    def __init__(self, device: str, torch: Any) -> None:
        self._torch = torch
        self._device = device
        self._stream = torch.cuda.Stream(device=device)
        self._locked: set[int] = set()
        self._may_lock = True

    def start(self, batch: Any) -> Arriving:
        """Queues the copies; what they read must stay as it is until the batch has arrived."""
        tensors: list[Any] = []
        try:
            with self._torch.cuda.stream(self._stream):
                moved = self._move(batch, tensors)
                arrived = self._stream.record_event()
        except Exception as error:  # no memory on the device, mostly: raised where this batch is processed
            return _raising(error)

        def wait() -> Any:
            stream = self._torch.cuda.current_stream(self._device)
            stream.wait_event(arrived)
            for tensor in tensors:
                tensor.record_stream(stream)  # its memory is not given to another tensor before the Job is through
            return moved

        return wait

    def _move(self, value: Any, moved: list[Any]) -> Any:
        match value:
            case dict():
                return {key: self._move(item, moved) for key, item in value.items()}
            case tuple() | list():
                items = [self._move(item, moved) for item in value]
                return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if not isinstance(value, self._torch.Tensor):
            return value
        moved.append(value.to(self._device, non_blocking=True))
        return moved[-1]

    def lock(self, memory: mmap.mmap) -> None:
        """Page-locks the memory. Where the system refuses, that is said once: copies work all the same, but wait."""
        if not self._may_lock:
            return
        error = int(self._torch.cuda.cudart().cudaHostRegister(_address(memory), len(memory), 0))
        if error:
            self._may_lock = False
            print(f"slots cannot be page-locked (CUDA error {error}): copies to {self._device} take longer", flush=True)
            # CUDA keeps the last error of a thread, and torch takes it for that of the next kernel: this one's.
            with contextlib.suppress(RuntimeError):
                self._torch.ones(1, device=self._device)
        else:
            self._locked.add(_address(memory))

    def unlock(self, memory: mmap.mmap) -> None:
        """CUDA must hear of it: it would copy from the old pages, whatever were mapped at this address later."""
        if _address(memory) in self._locked:
            self._locked.remove(_address(memory))
            self._stream.synchronize()  # perhaps a batch that the Job failed on is still being copied
            self._torch.cuda.cudart().cudaHostUnregister(_address(memory))


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _raising(error: Exception) -> Arriving:
    def wait() -> Any:
        raise error

    return wait


def transfer_to(device: str) -> Transfer:
    """The transfer for a torch device string. A Job on a GPU that does not use torch copies for itself."""
    torch = sys.modules.get("torch")
    return ToGpu(device, torch) if device.startswith("cuda") and torch else Stay()
