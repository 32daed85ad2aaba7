"""Memory: what process trees take, as proportional set size: a page that several have in common counts once in all.

They are watches, as contest.py has them.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from benchmarks.gate import Gate

_PAUSE_SECONDS = 0.01


# Of proc_pid_smaps(5): all pages; those that are of no file, so that the kernel cannot drop them.
_ALL, _OWN = ("Pss:",), ("Pss_Anon:", "Pss_Shmem:")


def proportional(pids: Iterable[int], kinds: tuple[str, ...] = _ALL) -> float:
    """MiB of these processes; those that are gone take nothing."""
    return sum(_proportional(pid, kinds) for pid in pids) / 1024


def _proportional(pid: int, kinds: tuple[str, ...]) -> int:
    """KiB, by smaps_rollup."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
    return 0


def peak(process: "subprocess.Popen[bytes]", out: Path) -> float:
    """The most that a run and all its children take at a time, MiB, without the pages of files."""
    most, tree = 0.0, psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            pids = [process.pid, *(child.pid for child in tree.children(recursive=True))]
            most = max(most, proportional(pids, _OWN))
        time.sleep(_PAUSE_SECONDS)
    return most


class Idle:
    """A watch for ``members`` processes that are ready and wait at the gate, which opens when their memory is known."""

    def __init__(self, members: int) -> None:
        self._members = members

    def __call__(self, process: "subprocess.Popen[bytes]", out: Path) -> float:
        """MiB of each, on average."""
        gate = Gate(out / "gate", self._members + 1)
        gate.await_members(self._members)
        each = proportional(gate.pids()) / self._members
        gate.wait()
        return each
