"""Pace: how many rows a second an attempt has done lately, without the time in which it had nothing to do."""

import time

# The rate is a mean over about this time, seconds.
_SECONDS = 20.0


class Pace:
    """``rate`` is in rows a second, 0 until some are done. ``done`` counts all rows that the attempt has done so far."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._last: tuple[float, int] | None = None

    def start(self, done: int) -> None:
        """The work begins now, or goes on; what comes before does not count."""
        self._last = time.monotonic(), done

    def note(self, done: int) -> None:
        """So many are done by now."""
        now = time.monotonic()
        if self._last and now > self._last[0] and done > self._last[1]:
            seconds = now - self._last[0]
            rate = (done - self._last[1]) / seconds
            share = min(1.0, seconds / _SECONDS) if self.rate else 1.0
            self.rate += share * (rate - self.rate)
            self._last = now, done
