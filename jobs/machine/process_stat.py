"""ProcessStat: what Linux tells of any process in one line, /proc/PID/stat (proc_pid_stat(5))."""

import os
from typing import NamedTuple, Self

_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessStat(NamedTuple):
    """``state`` is a letter, Z and X being the dead ones; ``start`` is in clock ticks since the machine started.

    ``cpu_seconds`` are of the process itself, user and system; ``reaped_seconds`` those of its children that have ended
    and for which it has waited, and of theirs.
    """

    state: str
    parent: int
    cpu_seconds: float
    reaped_seconds: float
    start: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """None where there is no such process."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The name in field 2 may hold spaces and brackets, so fields are counted from its end.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return None
        user, system, reaped_user, reaped_system = map(int, fields[11:15])
        cpu, reaped = (user + system) / _TICKS, (reaped_user + reaped_system) / _TICKS
        return cls(fields[0].decode(), int(fields[1]), cpu, reaped, int(fields[19]))
