"""A module that takes as many megabytes when it is imported as the environment says."""

import mmap
import os

from tests.example_jobs.toy_jobs import Toy

MEGABYTES = "TEST_HEAVY_MEGABYTES"

# Shared memory, which no limit on a process's own data stops.
held = mmap.mmap(-1, int(os.environ.get(MEGABYTES, "1")) << 20)
while held.tell() < len(held):
    held.write(b"\1" * (1 << 20))


class Heavy(Toy):
    """As Toy."""
