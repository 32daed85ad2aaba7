"""Transfer: copies to a GPU, on a stand-in of torch that keeps the order of calls, and on a real GPU where there is one."""

import mmap
import weakref
from collections import namedtuple
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.node.transfer import Stay, ToGpu, transfer_to

Pair = namedtuple("Pair", "image label")


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


class Event:
    def __init__(self, torch: "Torch", stream: str) -> None:
        self.torch, self.stream = torch, stream

    def synchronize(self) -> None:
        self.torch.calls.append(f"host waits for the event on {self.stream}")


class Tensor:
    def __init__(self, device: str, torch: "Torch", fails: Sequence[Exception] = ()) -> None:
        self.device, self.torch, self.fails = device, torch, list(fails)

    def to(self, device: str, non_blocking: bool) -> "Tensor":
        if self.fails:
            raise self.fails.pop()
        self.torch.calls.append(f"copy on {self.torch.stream}, {non_blocking=}")
        return Tensor(device, self.torch)

    def record_stream(self, stream: Any) -> None:
        self.torch.calls.append("memory kept for main")


class Torch:
    """What ToGpu uses of torch; which stream is current, and the calls so far."""

    Tensor = Tensor

    def __init__(self) -> None:
        self.stream = "main"
        self.calls: list[str] = []
        self.locked: dict[int, int] = {}
        side = SimpleNamespace(
            record_event=self._record_event,
            synchronize=lambda: self.calls.append(f"all copied, {len(self.locked)} locked"),
        )
        main = SimpleNamespace(
            wait_event=lambda event: self.calls.append("main waits for event"), record_event=self._record_event
        )
        self.refuses = False
        self.last_error = 0
        runtime = SimpleNamespace(cudaHostRegister=self._lock, cudaHostUnregister=self.locked.pop)
        self.cuda = SimpleNamespace(
            Stream=lambda device: side,
            stream=self._on_side,
            current_stream=lambda device: main,
            cudart=lambda: runtime,
        )

    def _record_event(self) -> Event:
        self.calls.append(f"event on {self.stream}")
        return Event(self, self.stream)

    def _lock(self, address: int, size: int, flags: int) -> int:
        if self.refuses:
            self.last_error = 2
            return 2
        self.locked[address] = size
        return 0

    def ones(self, size: int, device: str) -> Any:
        """A kernel's launch, as torch looks at it: the thread's last error counts, whoever made it, and is forgotten."""
        error, self.last_error = self.last_error, 0
        if error:
            raise RuntimeError("CUDA error: out of memory")
        return Tensor(device, self)

    @contextmanager
    def _on_side(self, stream: Any) -> Any:
        self.stream = "side"
        try:
            yield
        finally:
            self.stream = "main"


@pytest.fixture
def torch() -> Torch:
    return Torch()


def test_tensors_are_copied_by_a_stream_of_their_own_and_the_job_waits_for_them(torch: Torch) -> None:
    batch = {"pair": Pair(Tensor("cpu", torch), "cat"), "ids": [1, 2], "array": np.ones(3)}
    arriving = ToGpu("cuda:0", torch).start(lambda: batch)
    assert torch.calls == ["copy on side, non_blocking=True", "event on side"]
    found = arriving.take()
    assert torch.calls[2:] == ["main waits for event", "memory kept for main"]
    assert isinstance(found["pair"], Pair)
    assert (found["pair"].image.device, found["pair"].label, found["ids"]) == ("cuda:0", "cat", [1, 2])
    assert found["array"] is batch["array"]


def test_a_copy_that_fails_is_told_when_its_batch_is_processed_and_not_before(torch: Torch) -> None:
    arriving = ToGpu("cuda:0", torch).start(lambda: [Tensor("cpu", torch, fails=[RuntimeError("no such copy")])])
    with pytest.raises(RuntimeError, match="no such copy"):
        arriving.take()


def test_a_copy_ahead_for_which_there_is_no_room_is_made_when_the_batch_before_is_through(torch: Torch) -> None:
    full = OutOfMemoryError("CUDA out of memory")
    tensors = [Tensor("cpu", torch), Tensor("cpu", torch, fails=[full])]
    arriving = ToGpu("cuda:0", torch).start(lambda: tensors)
    assert [tensor.device for tensor in arriving.take()] == ["cuda:0", "cuda:0"]

    arriving = ToGpu("cuda:0", torch).start(lambda: [Tensor("cpu", torch, fails=[full, full])])
    with pytest.raises(OutOfMemoryError):
        arriving.take()


def test_memory_is_read_until_the_copy_and_what_the_job_left_to_the_device_are_done(torch: Torch) -> None:
    arriving = ToGpu("cuda:0", torch).start(lambda: Tensor("cpu", torch))
    arriving.take()
    arriving.processed()
    before = len(torch.calls)
    arriving.wait_until_read()
    assert torch.calls[before:] == ["host waits for the event on side", "host waits for the event on main"]


def test_a_batch_that_has_arrived_is_nobody_elses(torch: Torch) -> None:
    for transfer in (Stay(), ToGpu("cuda:0", torch)):
        batch = Items([Tensor("cpu", torch)])
        seen = weakref.ref(batch)
        arriving = transfer.start(partial(list.pop, [batch]))
        del batch
        taken = arriving.take()
        gone = weakref.ref(taken)
        assert type(taken) is Items
        del taken
        assert (seen(), gone()) == (None, None)


class Items(list[Any]):
    """A list of a class of its own."""


def test_slots_are_page_locked_as_long_as_they_are_mapped(torch: Torch) -> None:
    transfer, memory = ToGpu("cuda:0", torch), mmap.mmap(-1, 8192)
    transfer.lock(memory)
    assert list(torch.locked.values()) == [8192]
    transfer.unlock(memory)
    assert not torch.locked
    assert torch.calls == ["all copied, 1 locked"]
    memory.close()  # nothing holds on to it


def test_a_slot_that_cannot_be_page_locked_is_said_once_and_no_error_is_left_for_the_next_kernel(
    torch: Torch, capsys: pytest.CaptureFixture[str]
) -> None:
    transfer, torch.refuses = ToGpu("cuda:0", torch), True
    for _ in range(2):
        with mmap.mmap(-1, 8192) as memory:
            transfer.lock(memory)
            torch.ones(1, "cuda:0")
            transfer.unlock(memory)
    assert capsys.readouterr().out == "slots cannot be page-locked (CUDA error 2): copies to cuda:0 take longer\n"


def test_a_cpu_process_sees_the_batch_as_it_is() -> None:
    batch = {"x": np.ones(3)}
    transfer = transfer_to("cpu")
    assert isinstance(transfer, Stay)
    assert transfer.start(lambda: batch).take() is batch


@pytest.mark.gpu
def test_a_batch_arrives_on_a_real_gpu_from_page_locked_memory() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    transfer = ToGpu("cuda:0", torch)
    with mmap.mmap(-1, 1 << 20) as memory:
        transfer.lock(memory)
        tensor = torch.from_numpy(np.ndarray((1 << 18,), np.float32, memory))
        tensor[:] = torch.arange(1 << 18)
        assert tensor.is_pinned()
        found = transfer.start(partial(dict, x=tensor)).take()["x"]
        assert found.is_cuda
        assert torch.equal(found.cpu(), tensor)
        transfer.unlock(memory)
        del tensor
