"""Transfer: a loaded batch on its way to the device of a process, while the process computes the batch before it.

On a GPU, the torch tensors of a batch are copied by a stream of their own, out of slots that are page-locked, so that
the copy needs neither the CPU nor the computing stream (CUDA C++ Programming Guide, "Asynchronous Concurrent
Execution"). numpy arrays stay where they are: what becomes of them is for the Job to say. On a CPU nothing is copied.
"""

import contextlib
import copy
import ctypes
import mmap
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from jobs.node.log import say
from jobs.node.memory_errors import is_out_of_memory


class Arriving(Protocol):
    """A batch that has not arrived yet."""

    def take(self) -> Any:
        """Waits for the batch and hands it over: nothing refers to it in here any more. Raises what copying raised."""

    def processed(self) -> None:
        """The Job has returned, in the thread that it runs in; it may have left work to the device."""

    def wait_until_read(self) -> None:
        """Returns when nobody reads the memory that the batch came in; in any thread."""


class Here:
    """A batch that is where it must be; ``get`` makes it."""

    def __init__(self, get: Callable[[], Any]) -> None:
        self._get: Callable[[], Any] | None = get

    def take(self) -> Any:
        get, self._get = self._get, None
        assert get
        return get()

    def processed(self) -> None:
        pass

    def wait_until_read(self) -> None:
        pass


class Transfer(Protocol):
    """``on_their_way`` is how many batches are copied while another is processed: so many slots more are in use."""

    on_their_way: int

    def start(self, get: Callable[[], Any]) -> Arriving:
        """Sends the batch that ``get`` returns on its way; what ``get`` raises is raised where it is taken."""

    def lock(self, memory: mmap.mmap) -> None:
        """Prepares a slot's memory for copying."""

    def unlock(self, memory: mmap.mmap) -> None:
        """The memory is going to be unmapped."""


class Stay:
    """The transfer of a CPU process: batches are where they must be."""

    on_their_way = 0

    def start(self, get: Callable[[], Any]) -> Arriving:
        return Here(get)

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

    def start(self, get: Callable[[], Any]) -> Arriving:
        """Queues the copies; what they read must stay as it is until ``wait_until_read`` has returned."""
        return _OnItsWay(self._torch, self._device, self._stream, get)

    def lock(self, memory: mmap.mmap) -> None:
        """Page-locks the memory. Where the system refuses, that is said once: copies work all the same, but wait."""
        if not self._may_lock:
            return
        error = int(self._torch.cuda.cudart().cudaHostRegister(_address(memory), len(memory), 0))
        if error:
            self._may_lock = False
            say(f"slots cannot be page-locked (CUDA error {error}): copies to {self._device} take longer")
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


class _OnItsWay:
    """A batch whose tensors are being copied.

    Copied ahead, it must find room beside the batch before it. Where there is none, it is copied when that is through.
    """

    def __init__(self, torch: Any, device: str, stream: Any, get: Callable[[], Any]) -> None:
        self._torch = torch
        self._device = device
        self._stream = stream
        self._events: list[Any] = []
        self._error: BaseException | None = None
        self._batch: Any = None
        self._moved: Any = None
        self._tensors: list[Any] = []
        try:
            self._batch = get()
            self._copy()
        except (Exception, SystemExit) as error:
            self._error = error

    def _copy(self) -> None:
        """Queues copies of all tensors; the event comes after those that were queued, also where the next one fails."""
        with self._torch.cuda.stream(self._stream):
            try:
                self._moved = self._move(self._batch)
            finally:
                self._events.append(self._stream.record_event())
        self._batch = None

    def take(self) -> Any:
        error, self._error = self._error, None
        if error is not None:
            self._tensors.clear()
            if self._batch is None or not is_out_of_memory(error):
                self._batch = None
                raise error
            self._copy_again()
        stream = self._torch.cuda.current_stream(self._device)
        stream.wait_event(self._events[-1])
        for tensor in self._tensors:
            tensor.record_stream(stream)  # its memory is not given to another tensor before the Job is through
        moved, self._moved = self._moved, None
        self._tensors.clear()
        return moved

    def _copy_again(self) -> None:
        try:
            self._copy()
        finally:
            self._batch = None

    def processed(self) -> None:
        # What the Job copied itself, out of page-locked memory, and what it left to be computed may still be reading there.
        self._events.append(self._torch.cuda.current_stream(self._device).record_event())

    def wait_until_read(self) -> None:
        with contextlib.suppress(
            RuntimeError
        ):  # a device that is lost: the Job's thread hears of it, and ends the process
            for event in self._events:
                event.synchronize()

    def _move(self, value: Any) -> Any:
        match value:
            case dict():
                pairs = {key: self._move(item) for key, item in value.items()}
                return pairs if type(value) is dict else _filled(value, pairs.items())
            case list():
                items = [self._move(item) for item in value]
                return items if type(value) is list else _filled(value, enumerate(items))
            case tuple():
                items = [self._move(item) for item in value]
                return type(value)._make(items) if hasattr(value, "_make") else type(value)(items)
        if not isinstance(value, self._torch.Tensor):
            return value
        self._tensors.append(value.to(self._device, non_blocking=True))
        return self._tensors[-1]


def _filled(container: Any, items: Iterable[tuple[Any, Any]]) -> Any:
    """A copy of a container of a derived class, with all else that it has."""
    filled = copy.copy(container)
    for key, item in items:
        filled[key] = item
    return filled


def transfer_to(device: str) -> Transfer:
    """The transfer for a torch device string. A Job on a GPU that does not use torch copies for itself."""
    torch = sys.modules.get("torch")
    return ToGpu(device, torch) if device.startswith("cuda") and torch else Stay()
