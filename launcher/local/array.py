"""LocalArray: the array tasks of one submission as child processes, some at a time.

A task has its own session, so that a terminal's Ctrl-C reaches only the launcher, and leaves when this process dies.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping

from jobs.errors import RunError
from jobs.machine import descendants
from jobs.machine.devices import CPU_SHARE, usable_cpus
from jobs.machine.kernel_kills import KernelKills
from jobs.storage.files import open_at_end
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission

# An array task commits and leaves within 20 s of the first SIGTERM; the kernel may take a while to reap what is killed.
_TOGETHER = 3.0
_FIRST_GRACE = 25.0
_SECOND_GRACE = 10.0
_TICK = 0.02


def start_task(run: RunDir, submission: int, index: int, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Starts an array task that leaves when this process dies; what it prints is appended to its log."""
    arguments = [str(run.path.absolute()), str(submission), str(index), "--parent", str(os.getpid())]
    with open_at_end(run.log(submission, index)) as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )


class LauncherDied(RunError):
    """The launcher died that this process was to end with; nobody has asked for an end."""


class StopRequests:
    """Counts the stop signals that reach this process: the first asks for a good end, the second for an end at once.

    One of them says that ``launcher`` died, the process that this one is to end with.
    """

    LAUNCHER_DIED = signal.SIGUSR1

    def __init__(self, launcher: int | None = None) -> None:
        self.count = 0
        self.is_asked = False
        self._launcher = launcher
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, self.LAUNCHER_DIED):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        # Python calls it in the main thread, between two steps of what reads these: nothing is locked, and nothing done here.
        self.count += 1
        self.is_asked |= number != self.LAUNCHER_DIED

    def refuse_without_launcher(self) -> None:
        """Raises LauncherDied, unless somebody has asked for an end besides."""
        if self.count and not self.is_asked:
            raise LauncherDied(f"the launcher (process {self._launcher}) died, and its array tasks were stopped")


class LocalArray:
    """The tasks of a submission: waiting, running, ended; ``killed_by_kernel`` are those that it took for their memory."""

    def __init__(self, run: RunDir, submission: Submission, parallelism: int, stop: StopRequests) -> None:
        self._run = run
        self._number = submission.number
        self._at_a_time = max(1, min(parallelism, submission.tasks))
        self._stop = stop
        self._waiting = deque(range(submission.tasks))
        self._tasks: dict[int, subprocess.Popen[bytes]] = {}
        self._kernel_kills = KernelKills()
        self.killed_by_kernel: set[int] = set()
        self._pressed = 0
        self._pressed_at = 0.0

    def run(self, each_tick: Callable[[], None]) -> dict[int, int]:
        """Runs all tasks; returns array index -> exit status (negative: a signal), without those never started.

        ``each_tick`` is called some times a second.
        """
        ended: dict[int, int] = {}
        environment = {**os.environ, CPU_SHARE: str(max(1, usable_cpus() // self._at_a_time))}
        while self._waiting or self._tasks:
            if self._stop.count:
                self._waiting.clear()
                self._press()
            while self._waiting and len(self._tasks) < self._at_a_time:
                index = self._waiting.popleft()
                self._tasks[index] = start_task(self._run, self._number, index, environment)
            for index, task in list(self._tasks.items()):
                if (status := task.poll()) is not None:
                    ended[index] = status
                    if status == -signal.SIGKILL and self._kernel_kills.explain():
                        self.killed_by_kernel.add(index)
                    del self._tasks[index]
                    # Where everything of a task was killed at once, what its Job has started has come to this process.
                    descendants.end(spare={other.pid for other in self._tasks.values()})
            each_tick()
            self._kernel_kills.look()
            time.sleep(_TICK)
        return ended

    def _press(self) -> None:
        """SIGTERM, SIGINT, SIGKILL: at a person's second request, or when the tasks take too long.

        What comes within a moment is no second request: who ends a batch job signals this process and the launcher, which
        passes it on. Of SIGTERMs a task takes those that come together for one.
        """
        waited = time.monotonic() - self._pressed_at
        is_due = (
            self._pressed == 0
            or (self._pressed == 1 and waited > (_TOGETHER if self._stop.count > 1 else _FIRST_GRACE))
            or (self._pressed == 2 and waited > _SECOND_GRACE)
        )
        if not is_due:
            return
        for task in self._tasks.values():
            task.send_signal((signal.SIGTERM, signal.SIGINT, signal.SIGKILL)[self._pressed])
        self._pressed += 1
        self._pressed_at = time.monotonic()
