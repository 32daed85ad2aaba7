"""RunningTime: a clock that stands still while its process is stopped (SIGSTOP, Slurm's suspend, a frozen cgroup)."""

import time

# Who looks at the clock twice a second is late only if it was stopped, or if the machine is in trouble.
_MOST = 1.0


class RunningTime:
    """``now``, in seconds, goes on with each look, by a second at most.

    Whoever was stopped together with others for longer than these may be silent must not take them for dead.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._looked = time.monotonic()

    def look(self) -> float:
        """To be called at least twice a second while time is to count; returns ``now``."""
        looked = time.monotonic()
        self.now += min(looked - self._looked, _MOST)
        self._looked = looked
        return self.now
