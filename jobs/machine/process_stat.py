"""ProcessStat: what Linux tells of any process in one line, /proc/PID/stat (proc_pid_stat(5))."""

import os
from pathlib import Path
from typing import NamedTuple, Self


class ProcessStat(NamedTuple):
    """``state`` is a letter, Z and X being the dead ones; ``start`` is in clock ticks since the machine started.

    ``cpu_seconds`` are of the process itself, user and system.
    """

    state: str
    cpu_seconds: float
    start: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """None where there is no such process."""
        try:
            # The name in field 2 may hold spaces and brackets, so fields are counted from its end.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        ticks = int(fields[11]) + int(fields[12])
        return cls(fields[0], ticks / os.sysconf("SC_CLK_TCK"), int(fields[19]))
