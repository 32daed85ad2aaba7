"""GPUs: which of this machine's are free, and how busy a task's are, as NVML has it.

NVML needs no CUDA context and no torch. Where it is missing (no driver, no package) nothing is known: no GPU counts as
taken, and no use is recorded.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# An index, or a UUID or its beginning. What else sites write to switch GPUs off (none, void, NoDevFiles, -1) is no device.
_GPU = re.compile(r"\d+|(?:GPU|MIG)-[\w/-]+", re.ASCII)

# Below this share of memory in use a GPU counts as free: drivers and display servers take a little.
_FREE_SHARE = 0.02


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    """The NVML module, initialised; None where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no driver, no library, no permission: all of them mean that NVML cannot be asked
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def free(count: int) -> tuple[int, ...]:
    """Of the GPUs 0 ... count-1 those that nobody uses, in CUDA's order under CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    with _nvml() as nvml:
        if nvml is None:
            return tuple(range(count))
        return tuple(index for index in range(count) if _is_free(nvml, index))


def _is_free(nvml: Any, index: int) -> bool:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index))
    except nvml.NVMLError:
        return True
    return bool(memory.used < _FREE_SHARE * memory.total)


def chosen(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES shows: indices, UUIDs or MIG names; None where it is not set.

    CUDA ignores the first entry that is no device and all after it, and shows no more than one part of a GPU (MIG).
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    names: list[str] = []
    for entry in map(str.strip, visible.split(",")):
        if not _GPU.fullmatch(entry):
            break
        names.append(entry)
        if entry.startswith("MIG-"):
            break
    return tuple(names)


def tokens(environment: Mapping[str, str], count: int) -> tuple[str, ...]:
    """The first GPUs of this task as CUDA_VISIBLE_DEVICES names them."""
    names = chosen(environment)
    return tuple(map(str, range(count))) if names is None else names[:count]


class GpuLook(NamedTuple):
    """What NVML tells of a task's GPUs; None where it does not.

    ``use`` is how busy they are, as a mean of them, 0 to 1; ``memory`` what is taken of the fullest one and what that has,
    bytes; ``joules`` what all have taken since their driver started.
    """

    use: float | None
    memory: tuple[int, int] | None
    joules: float | None


def look(names: Sequence[str]) -> GpuLook | None:
    """As of now; None where NVML cannot be asked. A part of a GPU (MIG) tells of its memory alone."""
    if not names:
        return None
    with _nvml() as nvml:
        if nvml is None:
            return None
        by_index, by_uuid = nvml.nvmlDeviceGetHandleByIndex, nvml.nvmlDeviceGetHandleByUUID
        try:
            handles = [by_index(int(name)) if name.isdigit() else by_uuid(name) for name in names]
        except nvml.NVMLError:
            return None
        rates = _of_all(nvml, nvml.nvmlDeviceGetUtilizationRates, handles)
        sizes = _of_all(nvml, nvml.nvmlDeviceGetMemoryInfo, handles)
        millijoules = _of_all(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handles)
    fullest = max(sizes, key=lambda size: size.used / size.total, default=None)
    return GpuLook(
        sum(rate.gpu for rate in rates) / len(rates) / 100 if rates else None,
        (int(fullest.used), int(fullest.total)) if fullest else None,
        sum(millijoules) / 1000 if millijoules else None,
    )


def _of_all(nvml: Any, ask: Callable[[Any], Any], handles: Sequence[Any]) -> list[Any]:
    """The answer for each; none where one of them does not tell, or is too old to."""
    try:
        return [ask(handle) for handle in handles]
    except nvml.NVMLError:
        return []
