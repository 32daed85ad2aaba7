"""Memory errors: which of the things that a Job or the system raises say that memory ran out, or that a device is gone."""

import errno

# How a GPU without memory is reported where it is not torch's allocator that asks: CUDA's own needs, cuBLAS, cuDNN.
_NO_DEVICE_MEMORY = ("CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def text_of(error: BaseException) -> str:
    """What it says; errors of users' classes may raise even there."""
    try:
        return str(error)
    except Exception as problem:
        return f"(its text cannot be had: {type(problem).__name__})"


def is_out_of_memory(error: BaseException) -> bool:
    """True for lack of the host's memory, and of a device's (torch's error known by its name: torch may not be loaded)."""
    return (
        is_out_of_host_memory(error)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in text_of(error) for text in _NO_DEVICE_MEMORY)
    )


def is_out_of_host_memory(error: BaseException) -> bool:
    """Python's MemoryError and numpy's, what torch says, and what the system says to who maps memory."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, MemoryError) or "can't allocate memory" in text_of(error)


def is_device_lost(error: BaseException) -> bool:
    """True where CUDA can do no more in this process: a device gone, or a kernel that failed and took the context along.

    torch says "CUDA error: ..." (AcceleratorError, before 2.8 RuntimeError), and every later call says it again.
    """
    return "CUDA error" in text_of(error) and not is_out_of_memory(error)
