"""Gate: the start line of a benchmark, so that no contestant's start-up counts in its steady state.

Every process that will work checks in once it is ready (imports done, model built and warm) and goes on when all have.
Used by peers and by the benchmarks' Jobs, so it needs nothing but a folder that is empty at first.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Gate:
    """A gate for ``members`` processes, which meet in ``folder``."""

    folder: Path
    members: int

    def wait(self) -> None:
        """Checks in; returns when all members have. Raises TimeoutError where one does not come, so that none hangs."""
        (self.folder / f"{time.time_ns()}-{os.getpid()}").touch()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (present := len(os.listdir(self.folder))) < self.members:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{present} of {self.members} processes came to the start line")
            time.sleep(0.001)

    def opened(self) -> float:
        """When the last member checked in, seconds since the epoch."""
        return max(int(name.partition("-")[0]) for name in os.listdir(self.folder)) / 1e9
