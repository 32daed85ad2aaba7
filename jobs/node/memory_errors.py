"""Memory errors: which of the things that a Job or the system raises say that memory ran out, or process or device are gone.

A group says so where one of its errors does: it may have been raised of a single one, and what it says itself is of no help.
"""

import errno

from jobs.errors import ProcessBroken, members, words

_NO_HOST_MEMORY = ("can't allocate memory", "Cannot allocate memory", "std::bad_alloc")
# How a GPU without memory is reported where it is not torch's allocator that asks: CUDA's own needs, cuBLAS, cuDNN.
_NO_DEVICE_MEMORY = ("CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """True for lack of the host's memory, and of a device's (torch's error known by its name: torch may not be loaded)."""
    return any(
        is_out_of_host_memory(one)
        or type(one).__name__ == "OutOfMemoryError"
        or any(text in words(one) for text in _NO_DEVICE_MEMORY)
        for one in members(error)
    )


def is_out_of_host_memory(error: BaseException) -> bool:
    """Python's MemoryError and numpy's, the system's, and what torch, the dynamic linker and C++ say."""
    return any(
        isinstance(one, MemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or any(text in words(one) for text in _NO_HOST_MEMORY)
        for one in members(error)
    )


def broken_process(error: BaseException) -> ProcessBroken | None:
    """What a Job has raised because its process can do no more, alone or in a group; None where it is something else."""
    return next((one for one in members(error) if isinstance(one, ProcessBroken)), None)


def is_device_lost(error: BaseException) -> bool:
    """True where CUDA can do no more in this process: a device gone, or a kernel that failed and took the context along.

    torch says "CUDA error: ..." (AcceleratorError, before 2.8 RuntimeError), and every later call says it again.
    """
    return any("CUDA error" in words(one) and not is_out_of_memory(one) for one in members(error))
