"""Losses: how often a crew's processes were lost through no sample's fault, and when there is no sense in another one.

What a process needs (an engine, a device, a service) may be back in a moment, or never. So it is replaced with pauses, which
get longer as long as nothing good comes of it.
"""

import math
import time
from collections import Counter

# Losses of a process in a row, with no good sample in between: when it had samples in flight, one of them may be the cause
# and is looked for first, among eight times fewer at each try; when it had none, it could not even be set up.
IN_A_ROW, IN_A_ROW_IDLE = 8, 5
# A row that was in flight at so many losses is suspected.
SUSPECTED = 3
_LONGEST_PAUSE = 60.0


class Losses:
    """By process, of those that have not had a good sample since."""

    def __init__(self) -> None:
        self._in_a_row: Counter[int] = Counter()
        self._idle: Counter[int] = Counter()
        # When another one is to be started in its place, by the clock of this machine.
        self._due: dict[int, float] = {}

    def add(self, process: int, *, is_idle: bool) -> float:
        """One more of this process; returns for how many seconds to pause."""
        self._in_a_row[process] += 1
        self._idle[process] = self._idle[process] + 1 if is_idle else 0
        count = self._in_a_row[process]
        pause = 0.0 if count == 1 else min(_LONGEST_PAUSE, 2.0 ** (count - 2))
        self._due[process] = time.monotonic() + pause
        return pause

    def due(self) -> list[int]:
        """The processes in whose place others are to be started now; each is told once."""
        now = time.monotonic()
        found = [process for process, due in self._due.items() if due <= now]
        for process in found:
            del self._due[process]
        return found

    @property
    def seconds(self) -> float:
        """Until the next one is due."""
        return max(0.0, min(self._due.values(), default=math.inf) - time.monotonic())

    def end(self, process: int) -> None:
        """It is not to be replaced."""
        self._due.pop(process, None)

    def went_well(self, process: int) -> None:
        """A sample of this process was good."""
        del self._in_a_row[process], self._idle[process]

    def is_lost(self, process: int) -> bool:
        """Whether nothing good has come of it since it was lost."""
        return self._in_a_row[process] > 0

    def is_hopeless(self, process: int) -> bool:
        """Whether another one would be no better."""
        return self._in_a_row[process] >= IN_A_ROW or self._idle[process] >= IN_A_ROW_IDLE
