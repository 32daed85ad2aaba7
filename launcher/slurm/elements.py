"""Element: an array element by its own record: what its attempts wrote, and Slurm's process beside them into its log.

This is all there is to know where nobody keeps accounts and the controller has forgotten the job.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from jobs.kinds import EndReason
from jobs.storage.attempts import Attempt
from jobs.storage.records import AttemptStart
from launcher.retry.policy import Allocation
from launcher.slurm.parsers import Accounted
from launcher.slurm.step_messages import StepMessages

# The share of what Slurm gives that a task may use: machine/memory.py keeps the rest free.
_USABLE = 0.9
# Beats that may be missing before an end: one that was due, and one that was being written.
_BEATS = 2


@dataclass(frozen=True)
class Element:
    """An array element, by the last attempt of each of its nodes.

    ``began``: it made one at all; ``stopped``: it had to leave, and did; ``tells``: each says why it ended, and that was
    its own doing; ``progress``: one of its attempts made something durable. ``last``: the attempt to ask about its end, with
    what it wrote when it began.
    """

    index: int
    began: bool = False
    stopped: bool = False
    tells: bool = False
    progress: bool = False
    last: tuple[AttemptStart, Attempt] | None = None

    @classmethod
    def of(cls, index: int, attempts: Collection[tuple[AttemptStart, Attempt]], nodes: int) -> Self:
        """``attempts`` are all those of the element: it was started anew after each requeue."""
        newest: dict[int, tuple[AttemptStart, Attempt]] = {}
        for start, attempt in sorted(attempts, key=lambda pair: (pair[0].restart, pair[0].time)):
            newest[start.worker] = start, attempt
        ends = [attempt.beat.end for _, attempt in newest.values()]
        return cls(
            index,
            began=bool(attempts),
            stopped=EndReason.STOPPED in ends,
            tells=len(ends) >= nodes and all(end and end is not EndReason.STOPPED for end in ends),
            progress=any(attempt.beat.done for _, attempt in attempts),
            # Of several nodes one that was ended without a word.
            last=min(newest.values(), key=lambda pair: pair[1].is_over, default=None),
        )

    def own_record(self, messages: StepMessages, interval: float, time_limit: int | None) -> Accounted | None:
        """Its end in the words of the accounting, as far as its own record tells it; None where it does not.

        ``interval`` is between its beats, ``time_limit`` what was asked for; seconds.
        """
        if self.last is None:
            return None
        start, attempt = self.last
        state = messages.state(start.native_id, start.restart) or self._silent_state(interval, time_limit)
        if state == "REQUEUED":  # and ended while it waited for its next start
            state = "CANCELLED"
        had = self.allocation
        asked_memory = f"{had.memory >> 20}M" if had.memory else ""
        return (
            Accounted("", self.index, state, "", start.host, attempt.beat.memory, asked_memory, "") if state else None
        )

    def _silent_state(self, interval: float, time_limit: int | None) -> str | None:
        """Of an attempt without an end: whether it was last heard of with too much memory, or when its time was over."""
        assert self.last
        start, attempt = self.last
        if attempt.is_over:
            return None
        if start.memory and attempt.beat.memory > start.memory:
            return "OUT_OF_MEMORY"
        deadline = start.deadline or (start.time + time_limit if time_limit else None)
        return "TIMEOUT" if deadline and attempt.beat.time > deadline - _BEATS * interval else None

    @property
    def allocation(self) -> Allocation:
        """What it had, as far as it knows; its time to the minute, as Slurm counts it."""
        if self.last is None:
            return Allocation()
        start, _ = self.last
        seconds = round((start.deadline - start.time) / 60) * 60 if start.deadline else None
        return Allocation(start.host, round(start.memory / _USABLE) or None, seconds or None)
