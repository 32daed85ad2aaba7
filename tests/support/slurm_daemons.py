"""The processes of the test cluster: starts its daemons, finds them and what their jobs started, ends them.

tests/slurm_cluster.py uses it. Nothing is remembered on disk: a process is recognised by its environment.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.patience import PATIENCE

MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")  # cgroup v1; Slurm 22.05 uses v2 only under systemd


class ClusterError(Exception):
    """The cluster did not do what was asked in time; the message ends with the log of a daemon."""


class Daemons:
    """The daemons whose environment is `env` (with SLURM_CONF), their logs in a folder, one a daemon."""

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        self._env = env
        self._logs = logs
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> None:
        """Start a command that stays in the foreground, in a session of its own."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._started[name] = subprocess.Popen(
                command,
                env={**self._env, "SLURM_TEST_DAEMON": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def started(self, name: str) -> bool:
        """Whether this object has started the daemon and not ended it since."""
        return name in self._started

    def terminate(self, name: str) -> None:
        """Ask a daemon to end (SIGTERM) and wait until it has."""
        daemon = self._started.pop(name, None)
        for process in self.processes(name):
            process.terminate()
        self.wait(lambda: not self.processes(name), f"{name} ends", name)
        if daemon:
            daemon.wait()

    def kill(self, name: str | None = None) -> None:
        """SIGKILL `processes(name)`, and remove the cgroups of their jobs."""
        deadline = time.monotonic() + PATIENCE
        cgroups: set[Path] = set()
        while processes := self.processes(name):  # again: a process may have started another meanwhile
            if time.monotonic() > deadline:
                raise ClusterError(f"cannot be killed: {processes}")
            for process in processes:  # all first stand still, or slurmstepd tells slurmctld how its job died
                with suppress(psutil.Error, OSError):
                    cgroups.update(_job_cgroups(process.pid))
                    process.suspend()
            for process in processes:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.05)
        self._started = {name: daemon for name, daemon in self._started.items() if daemon.poll() is None}
        for cgroup in sorted(cgroups, reverse=True):  # children first
            with suppress(OSError):
                cgroup.rmdir()

    def processes(self, name: str | None = None) -> list[psutil.Process]:
        """The daemons and the processes of their jobs, or those of one daemon (a node's name: of that node).

        All: those of clusters below this one's folder, too.
        A process belongs if its environment says so, or if a process that belongs started it.
        """
        owned: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if self._owns(process.pid, name):
                    owned[process.pid] = process
                    owned.update((child.pid, child) for child in process.children(recursive=True))
        return [process for process in owned.values() if _alive(process)]

    def _owns(self, pid: int, name: str | None) -> bool:
        # Not psutil's environ(): it ends at the hole that slurmstepd leaves where it writes its title.
        environment = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
        conf = self._env["SLURM_CONF"]
        if name is None:
            folder = f"SLURM_CONF={Path(conf).parent}/"
            owners = ("SLURM_TEST_DAEMON=", "SLURMD_NODENAME=")
            return any(one.startswith(folder) for one in environment) and any(
                one.startswith(owners) for one in environment
            )
        owners = (f"SLURM_TEST_DAEMON={name}", f"SLURMD_NODENAME={name}")
        return f"SLURM_CONF={conf}" in environment and any(owner in environment for owner in owners)

    def wait(self, predicate: Callable[[], object], what: str, daemon: str, timeout: float = PATIENCE) -> None:
        """Poll until the predicate is true.

        Raises ClusterError, with the end of the daemon's log, after `timeout` seconds or if the daemon dies.
        """
        deadline = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > deadline:
                raise ClusterError(f"not within {timeout} s: {what}\n{self._tail(daemon)}")
            if daemon in self._started and self._started[daemon].poll() is not None:
                raise ClusterError(f"{daemon} has ended before: {what}\n{self._tail(daemon)}")
            time.sleep(0.1)

    def _tail(self, daemon: str) -> str:
        path = self._logs / f"{daemon}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join([f"{path} ends:", *lines[-20:]])


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _job_cgroups(pid: int) -> list[Path]:
    """The memory cgroups of the process's Slurm job: slurm_n1/uid_0/job_12, its steps and their tasks."""
    cgroup = Path(f"/proc/{pid}/cgroup").read_text()
    found = re.search(r":memory:/(slurm_n\d+/uid_\d+/job_\d+)", cgroup)
    if not found:
        return []
    job = MEMORY_CGROUP / found[1]
    return [job, *(path for path in job.rglob("*") if path.is_dir())]
