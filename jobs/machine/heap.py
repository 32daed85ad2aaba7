"""Heap: memory that a child frees stays with it, for its next batch. Called by processes and pool workers at their start.

glibc gives large blocks back to the kernel when they are freed, or does not, depending on where they happen to lie; then
the next batch touches fresh pages, a fault each. Measured with batches of 32 images: 10,000 to 160,000 faults from one
start of the same process to the next, and 3 to 7% of its time (docs/benchmarks.md, docs/node.md).
"""

import ctypes
import os

# mallopt(3). Larger blocks than glibc's maximum of 32 MiB are always the kernel's: pages that are touched once are cheap
# against what is computed on them.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 << 20
# Free memory at the top of the heap that a child keeps at most: a few tensors of a batch.
_KEPT = 128 << 20
# Users who tune malloc themselves: mallopt(3), and the GNU C library's manual, "Tunables".
_TUNED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Keeps freed memory, unless the environment tunes malloc, or the C library is another one."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and not any(name in os.environ for name in _TUNED):
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
