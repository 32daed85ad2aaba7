"""Signals: what the scheduler or a person asks of a running array task.

SIGTERM and SIGINT: commit and leave. SIGUSR2 (Slurm, before the time limit): the same, and queue again. A second
SIGTERM or SIGINT: leave at once, which loses what was done since the last beat. SIGTERMs that come together are one: a
scheduler that ends a job signals all its processes, and those of them that have started others pass it on.

Made before all else in a task: until then a batch script ignores SIGUSR2 for it, and notes one that came earlier in WARNED.
"""

import os
import signal
import socket
import time

from jobs.exit_codes import STOPPED
from jobs.machine.allocation import WARNED

_TOGETHER = 3.0  # seconds


class Signals:
    """Counts requests; its ``socket`` becomes readable when one arrives, so that a wait ends."""

    def __init__(self) -> None:
        self.stop = False
        self.requeue = False
        self._since = 0.0
        self.name = ""
        self.socket, self._wake = socket.socketpair()
        self.socket.setblocking(False)
        self._wake.setblocking(False)  # a full buffer must not hold up a handler; one byte in it is enough
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGUSR2, self._on_requeue)
        if os.environ.pop(WARNED, None):
            self._on_requeue(signal.SIGUSR2, None)

    def _on_stop(self, number: int, frame: object) -> None:
        # After SIGUSR2 it is not the second one but takes its place: Slurm is ending the job, and it is too late to requeue.
        if self.stop and not self.requeue:
            if number == signal.SIGTERM and time.monotonic() - self._since < _TOGETHER:
                return
            # Not sys.exit, whose exception might come in the middle of a write and set off more of them. Children die with
            # this process, see lifeline.
            os._exit(STOPPED)
        self.stop, self.requeue, self._since = True, False, time.monotonic()
        self.name = signal.Signals(number).name

    def _on_requeue(self, number: int, frame: object) -> None:
        if not self.stop:
            self.stop = self.requeue = True
            self.name = "SIGUSR2 (the time limit is near, or a preemption)"

    def drain(self) -> None:
        """Empties the socket."""
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return
