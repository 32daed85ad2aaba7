"""Memory errors: which of the things that a Job or the system raises say that memory ran out, or that a device is gone."""

import errno

from jobs.errors import words

_NO_HOST_MEMORY = ("can't allocate memory", "Cannot allocate memory", "std::bad_alloc")
# How a GPU without memory is reported where it is not torch's allocator that asks: CUDA's own needs, cuBLAS, cuDNN.
_NO_DEVICE_MEMORY = ("CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """True for lack of the host's memory, and of a device's (torch's error known by its name: torch may not be loaded)."""
    return (
        is_out_of_host_memory(error)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in words(error) for text in _NO_DEVICE_MEMORY)
    )


def is_out_of_host_memory(error: BaseException) -> bool:
    """Python's MemoryError and numpy's, the system's, and what torch, the dynamic linker and C++ say."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(text in words(error) for text in _NO_HOST_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """True where CUDA can do no more in this process: a device gone, or a kernel that failed and took the context along.

    torch says "CUDA error: ..." (AcceleratorError, before 2.8 RuntimeError), and every later call says it again.
    """
    return "CUDA error" in words(error) and not is_out_of_memory(error)
