"""ProcessIdentity: a process that can be found again, and never mistaken for another that got its pid later.

Recorded in submissions by the local executor, which tells by it whether a run still runs, and cancels it; in the names
of scratch folders.
"""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from jobs.machine.process_stat import ProcessStat


@dataclass(frozen=True)
class ProcessIdentity:
    """``start`` is the process's start time in clock ticks since the boot named by ``boot``.

    ``namespace`` is where its pid is its own: containers may have the host's name and boot, and pids of their own ("":
    not known, as recorded by an older version).
    """

    host: str
    boot: str
    pid: int
    start: int
    namespace: str = ""

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The identity of a living process of this machine; None where there is none."""
        start = _start_time(pid)
        return None if start is None else cls(host_name(), _boot_id(), pid, start, pid_namespace())

    @classmethod
    def current(cls) -> Self:
        """This process."""
        identity = cls.of(os.getpid())
        if identity is None:
            raise OSError("/proc is not mounted")
        return identity

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["host"], data["boot"], data["pid"], data["start"], data.get("namespace", ""))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine and container: what can be seen from here, and signalled.

        Of another boot it may be one of another machine: some have a name in common, as all have that of their first namespace.
        """
        return (self.host, self.boot) == (host_name(), _boot_id()) and self.namespace in ("", pid_namespace())

    @property
    def is_alive(self) -> bool:
        """Whether it runs; False for a process of another machine or container."""
        return self.is_here and self.start == _start_time(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs."""
        # Looked at right before the signal: Linux gives a pid away again only after it has gone through all others.
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Waits until it has ended, ``seconds`` at most; returns whether it has."""
        deadline = time.monotonic() + seconds
        while self.is_alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def host_name() -> str:
    """This machine's name, as journals and submissions record it."""
    return os.uname().nodename


def pid_namespace() -> str:
    """In which namespace this process's pids are, as the kernel numbers them."""
    return os.readlink("/proc/self/ns/pid")


def _start_time(pid: int) -> int | None:
    stat = ProcessStat.of(pid)
    # A zombie is as good as gone: it only waits for its parent to ask how it ended.
    return None if stat is None or stat.state in "ZX" else stat.start


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
