"""KernelKills: which deaths by SIGKILL were the kernel's, for lack of memory. It does not say whom it took, only how often.

What counts is the task's own memory cgroup: those above it tell of other jobs of the node, too.
"""

import os
import signal
import time
from pathlib import Path

from jobs.errors import described
from jobs.machine.memory import cgroup_files, read_text

# A process that has much memory takes as long to die. What comes later was somebody else's kill.
_DYING_SECONDS = 10.0
_MESSAGE_CHARACTERS = 500


class KernelKills:
    """Counts the kernel's kills from now on; to be looked at now and then, so that it knows when they were."""

    def __init__(self) -> None:
        self._seen = count()
        self._unexplained = 0
        self._at = 0.0

    def look(self) -> int:
        """How many kills of late have not explained a death yet."""
        now, seen = time.monotonic(), count()
        if seen > self._seen:
            self._unexplained += seen - self._seen
            self._at = now
        elif now - self._at > _DYING_SECONDS:
            self._unexplained = 0
        self._seen = seen
        return self._unexplained

    def explain(self) -> bool:
        """Whether a death by SIGKILL that was just seen was one of them; each explains one death."""
        is_one = self.look() > 0
        self._unexplained -= is_one
        return is_one

    def follow(self, error: BaseException) -> None:
        """Ends this process as one of them, if there were any of late: maybe of a program that the user's code has started.

        Then ``error``, which that code raised, is for lack of memory. Nobody knows by whose fault: the supervisor finds out.
        """
        if self.look():
            text = described(error)[:_MESSAGE_CHARACTERS]
            print(f"the kernel killed something of this task for its memory, so this one ends, too: {text}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


def count() -> int:
    """How often the kernel's OOM killer took a process of this task's cgroup so far; without one, of the machine."""
    for file in [*cgroup_files("memory.oom_control", "memory.events")[:1], Path("/proc/vmstat")]:
        lines = [line.split() for line in (read_text(file) or "").splitlines()]
        found = [int(line[1]) for line in lines if len(line) == 2 and line[0] == "oom_kill"]
        if found:
            return found[0]
    return 0
