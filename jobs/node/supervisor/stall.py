"""StallWatch: for how long an attempt that has work got nothing of it done; it ends the attempt where that is too long."""

from jobs.kinds import FailureKind
from jobs.machine.running_time import RunningTime
from jobs.node.supervisor.commit_log import AttemptFailed


class StallWatch:
    """Its clock stands still while the task is suspended; waiting for work is no stall."""

    def __init__(self, clock: RunningTime, limit: float | None) -> None:
        """``limit``: seconds; None: it only looks."""
        self._clock = clock
        self._limit = limit
        self._since = clock.now
        self._committed = 0

    @property
    def quiet(self) -> float:
        """Seconds since something was last finished, or there was nothing to do."""
        return self._clock.now - self._since

    def begin(self) -> None:
        """From now on it counts."""
        self._since = self._clock.now

    def look(self, committed: int) -> None:
        """To be called at least twice a second; ``committed``: the rows so far. Raises AttemptFailed."""
        if committed != self._committed:
            self._committed = committed
            self.begin()
        elif self._limit is not None and self.quiet > self._limit:
            raise AttemptFailed(
                FailureKind.STALLED,
                f"no batch was finished within {self._limit:.0f} s (retry.stall), the set-up included",
            )
