"""Gate: the start line of a benchmark, so that no contestant's start-up counts in its steady state.

Every process that will work checks in once it is ready (imports done, model built and warm) and goes on when all have.
It is part of peers and of the benchmarks' Jobs, so it needs nothing but a folder that is empty at first.
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
        self.await_members(self.members)

    def await_members(self, count: int) -> None:
        """Returns when ``count`` have checked in; raises TimeoutError."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        # A millisecond for the usual three; many look less often, lest they take the CPUs from those still starting.
        pause = self.members**2 / 10_000
        while (present := len(os.listdir(self.folder))) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{present} of {count} processes came to the start line")
            time.sleep(pause)

    def opened(self) -> float:
        """When the last other member checked in, seconds since the epoch; NaN where none did."""
        return max((when for when, _ in self._others()), default=float("nan")) / 1e9

    def pids(self) -> list[int]:
        """The other processes that have checked in."""
        return [pid for _, pid in self._others()]

    def _others(self) -> list[tuple[int, int]]:
        """(nanoseconds, process) of all but this process."""
        pairs = (name.split("-") for name in os.listdir(self.folder))
        return [(int(when), int(pid)) for when, pid in pairs if int(pid) != os.getpid()]
