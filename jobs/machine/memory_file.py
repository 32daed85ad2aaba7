"""Anonymous shared memory, as a descriptor that is passed to another process: for slots and beacons."""

import os
import tempfile

_said = False


def memory_file(name: str, size: int) -> int:
    """A descriptor of ``size`` bytes of zeros; a deleted scratch file where the kernel gives no memory so, said once.

    It has no name in /dev/shm that could leak, and no limit from the size of /dev/shm.
    """
    global _said
    try:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    except OSError as error:
        if not _said:
            place = tempfile.gettempdir()
            print(f"no anonymous shared memory here ({error}): using scratch files in {place}", flush=True)
        _said = True
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
