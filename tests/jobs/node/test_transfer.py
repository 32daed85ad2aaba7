"""Transfer: copies to a GPU, on a stand-in of torch that keeps the order of calls, and on a real GPU where there is one."""

import mmap
from collections import namedtuple
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.node.transfer import Stay, ToGpu, transfer_to

Pair = namedtuple("Pair", "image label")


class Tensor:
    def __init__(self, device: str, torch: "Torch", fails: bool = False) -> None:
        self.device, self.torch, self.fails = device, torch, fails

    def to(self, device: str, non_blocking: bool) -> "Tensor":
        if self.fails:
            raise RuntimeError("CUDA out of memory")
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
        main = SimpleNamespace(wait_event=lambda event: self.calls.append(f"main waits for {event}"))
        self.refuses = False
        self.last_error = 0
        runtime = SimpleNamespace(cudaHostRegister=self._lock, cudaHostUnregister=self.locked.pop)
        self.cuda = SimpleNamespace(
            Stream=lambda device: side,
            stream=self._on_side,
            current_stream=lambda device: main,
            cudart=lambda: runtime,
        )

    def _record_event(self) -> str:
        self.calls.append(f"event on {self.stream}")
        return "event"

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
        yield
        self.stream = "main"


@pytest.fixture
def torch() -> Torch:
    return Torch()


def test_tensors_are_copied_by_a_stream_of_their_own_and_the_job_waits_for_them(torch: Torch) -> None:
    batch = {"pair": Pair(Tensor("cpu", torch), "cat"), "ids": [1, 2], "array": np.ones(3)}
    arriving = ToGpu("cuda:0", torch).start(batch)
    assert torch.calls == ["copy on side, non_blocking=True", "event on side"]
    found = arriving()
    assert torch.calls[2:] == ["main waits for event", "memory kept for main"]
    assert isinstance(found["pair"], Pair)
    assert (found["pair"].image.device, found["pair"].label, found["ids"]) == ("cuda:0", "cat", [1, 2])
    assert found["array"] is batch["array"]


def test_a_copy_that_fails_is_told_when_its_batch_is_processed_and_not_before(torch: Torch) -> None:
    arriving = ToGpu("cuda:0", torch).start([Tensor("cpu", torch, fails=True)])
    with pytest.raises(RuntimeError, match="out of memory"):
        arriving()


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
    assert transfer.start(batch)() is batch


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
        found = transfer.start({"x": tensor})()["x"]
        assert found.is_cuda
        assert torch.equal(found.cpu(), tensor)
        transfer.unlock(memory)
        del tensor
