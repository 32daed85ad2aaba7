"""KernelKills: which deaths by SIGKILL were the kernel's, for lack of memory. It does not say whom it took, only how often.

What counts is the task's own memory cgroup: those above it tell of other jobs of the node, too.
"""

import os
import re
import signal
import time
from pathlib import Path

from jobs.errors import described
from jobs.machine.memory import cgroup_files, read_text

# A process that has much memory takes as long to die. What comes later was somebody else's kill.
_DYING_SECONDS = 10.0
# Seconds between looks of who has more to do than to look: a look reads a file.
_BETWEEN_LOOKS = 1.0
_MESSAGE_CHARACTERS = 500
_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class KernelKills:
    """Counts the kernel's kills from now on.

    To be looked at now and then, if only by ``tick``: nobody but who looks knows when they were, and one of an hour ago would
    explain what happens now.
    """

    def __init__(self) -> None:
        self._file = _file()  # once: a process stays in its cgroup, and a batch may have failures by the ten thousand
        self._seen = _count(self._file)
        self._unexplained = 0
        self._at = 0.0
        self._looked_at = time.monotonic()

    def tick(self) -> None:
        """A look, unless the last one was just now."""
        if time.monotonic() - self._looked_at > _BETWEEN_LOOKS:
            self.look()

    def look(self) -> int:
        """How many kills of late have not explained a death yet."""
        now, seen = time.monotonic(), _count(self._file)
        self._looked_at = now
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


def _file() -> Path | None:
    """Where the kernel counts what it took of this task's cgroup; without one, of the machine."""
    files = [*cgroup_files("memory.oom_control", "memory.events")[:1], Path("/proc/vmstat")]
    return next((file for file in files if _OOM_KILL.search(read_text(file) or "")), None)


def _count(file: Path | None) -> int:
    """How often the kernel's OOM killer took a process so far."""
    found = _OOM_KILL.search(read_text(file) or "") if file else None
    return int(found[1]) if found else 0
