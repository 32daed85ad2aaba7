"""A real Slurm on this one machine, for the tests: munged, MariaDB, slurmdbd, slurmctld and four slurmd.

Needs root and, on Debian, `apt-get install slurm-wlm slurmdbd munge mariadb-server`. All else (configuration,
key, ports, sockets, data, logs) is its own and lives in one folder; the system's services are left alone.
The tests get it from the `slurm` fixture (slurm_fixtures.py); by hand:

    python -m tests.slurm_cluster up [--dir D] [--max-array-size N]
    eval "$(python -m tests.slurm_cluster env)"; sinfo
    python -m tests.slurm_cluster down
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil

from tests.support.slurm_conf import NODES, write_configuration
from tests.support.slurm_daemons import MEMORY_CGROUP, ClusterError, Daemons

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
BY_HAND = Path(tempfile.gettempdir()) / "slurm-cluster"


def slurm_missing() -> str | None:
    """What this machine lacks to run a cluster, in words, or None."""
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=PATH)]:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm slurmdbd munge mariadb-server"
    return None if os.geteuid() == 0 else "only root can run a Slurm: it makes devices and cgroups"


class SlurmCluster:
    """Nodes n1..n4 (8 CPUs, 6000 MB, 2 fake GPUs each); partitions `main` and `urgent`, which preempts main.

    Attributes:
        env: the environment in which Slurm's commands talk to this cluster.
        memory_limits: whether a job over its --mem is killed; needs cgroup v1.

    Args:
        directory: where everything goes, deleted by stop(); default: a new temporary one.
        max_array_size: Slurm's MaxArraySize; 1001 is Slurm's own default.
        requeue_wait: seconds that a requeued job waits before it may start; 120 is Slurm's own default.
        lasting: the daemons outlive the process that started them; else they die with it.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        max_array_size: int = 1001,
        requeue_wait: int = 20,
        lasting: bool = False,
    ) -> None:
        self.directory = (directory or Path(tempfile.mkdtemp(prefix="slurm-"))).resolve()
        self.conf = self.directory / "slurm.conf"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        self.env |= {"PATH": PATH, "SLURM_CONF": str(self.conf)}
        self.memory_limits = os.access(MEMORY_CGROUP / "memory.limit_in_bytes", os.W_OK)
        self._max_array_size = max_array_size
        self._requeue_wait = requeue_wait
        self._database = self.directory / "database"
        # slurmdbd has no setting for the database's socket.
        daemon_env = {**self.env, "MYSQL_UNIX_PORT": str(self._database / "socket")}
        self._daemons = Daemons(daemon_env, self.directory / "log", lasting=lasting)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every daemon and wait until all nodes take jobs (5 s). ClusterError: nothing is left."""
        if len(str(self.directory)) > 70:
            raise ClusterError(f"{self.directory}: too long a path for Unix sockets (70 characters at most)")
        if self.conf.exists():
            raise ClusterError(f"{self.directory}: a cluster is here already; take it down first")
        if self.directory.exists() and any(self.directory.iterdir()):
            raise ClusterError(f"{self.directory}: not an empty folder")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        write_configuration(
            self.directory,
            free_ports(2 + len(NODES)),
            max_array_size=self._max_array_size,
            requeue_wait=self._requeue_wait,
            memory_limits=self.memory_limits,
        )
        self._start_munge()
        self._start_database()
        self.start_accounting()
        self.run("sacctmgr", "-i", "add", "cluster", "test")
        self.run("sacctmgr", "-i", "add", "account", "lab", "cluster=test")
        self.run("sacctmgr", "-i", "add", "user", "root", "account=lab", "defaultaccount=lab")
        for node in NODES:
            self._start_slurmd(node)
        self.start_controller()

    def stop(self) -> None:
        """Kill every process of the cluster and of its jobs, and delete its directory."""
        self._daemons.kill()
        if self.conf.exists():  # else it is somebody else's
            shutil.rmtree(self.directory)

    def processes(self, node: str | None = None) -> list[psutil.Process]:
        """The processes of the whole cluster and of its jobs, or those of one node."""
        return self._daemons.processes(node)

    def run(self, *command: str) -> str:
        """The standard output of a Slurm command; an exit code other than 0 raises CalledProcessError."""
        done = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    def wait(self, predicate: Callable[[], object], timeout: float, what: str) -> None:
        """Poll until the predicate is true; after `timeout` seconds ClusterError, which quotes slurmctld."""
        self._daemons.wait(predicate, timeout, what, "slurmctld")

    def job_states(self, job_id: str) -> dict[str, str]:
        """The latest state of a job, or of each element of an array, by id: {"12_3": "RUNNING"}."""
        states: dict[str, str] = {}
        for command in (
            ("sacct", "-X", "-n", "-P", "--array", "-S", "now-1days", "-o", "JobID,State", "-j", job_id),
            ("squeue", "-h", "-r", "-t", "all", "-o", "%i|%T", "-j", job_id),
        ):
            with suppress(subprocess.CalledProcessError):  # accounting is stopped; the job left the queue
                rows = (line.split("|") for line in self.run(*command).splitlines())
                states.update((name, state.split()[0]) for name, state in rows)
        return states

    def start_now(self, job_id: str) -> bool:
        """Let a requeued job start without its wait (BeginTime). False if not all of it was pending."""
        # In the second of its requeue the node refuses it ("Job credential revoked") and the job fails.
        return self._succeeds("scontrol", "update", f"JobId={job_id}", "StartTime=now+2seconds")

    def reset(self) -> None:
        """Undo what a test did: dead nodes come back, no job is left, no limit."""
        for node in NODES:
            if not self._daemons.started(node):
                self.restart_node(node)
        self.set_user_limit(max_submit_jobs=-1)
        self.run("scancel", "--user=root")
        self.wait(lambda: not self.run("squeue", "-h"), 60, "an empty queue")

    def set_user_limit(self, *, max_submit_jobs: int) -> None:
        """How many jobs and array elements root may have pending or running; -1 lifts the limit."""
        self.run("sacctmgr", "-i", "modify", "user", "root", "set", f"MaxSubmitJobs={max_submit_jobs}")

    def sdiag(self) -> dict[str, dict[str, int]]:
        """The calls that slurmctld answered: {"by_type": {"REQUEST_JOB_INFO": 3}, "by_user": {"root": 9}}.

        `run("sdiag", "--reset")` sets the counts to 0, and so does a restart of slurmctld.
        """
        by_type, by_user = self.run("sdiag").split("Remote Procedure Call statistics by user")
        row = re.compile(r"^\t(\S+)\s*\(\s*\d+\) count:(\d+)", re.MULTILINE)
        return {
            "by_type": {name: int(count) for name, count in row.findall(by_type)},
            "by_user": {name: int(count) for name, count in row.findall(by_user)},
        }

    def kill_node(self, node: str, *, noticed: bool = False) -> None:
        """Power failure: slurmd, slurmstepd and every process of the node's jobs die at once.

        slurmctld finds out after SlurmdTimeout, within about 45 s; or at once, if `noticed`.
        """
        self._daemons.kill(node)
        if noticed:
            self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=killed")

    def restart_node(self, node: str) -> None:
        """Start the node's slurmd again and wait until the node takes jobs."""
        since = datetime.now().replace(microsecond=0)
        self._start_slurmd(node)
        self._wait_ready(node, since)

    def stop_controller(self) -> None:
        """Stop slurmctld as an administrator would; jobs go on running."""
        self._daemons.terminate("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers and every node that was started has registered."""
        self._daemons.start("slurmctld", "slurmctld", "-D", "-f", str(self.conf))
        self.wait(lambda: self._succeeds("scontrol", "show", "config"), 30, "slurmctld answers")
        for node in filter(self._daemons.started, NODES):
            self._wait_ready(node)

    def stop_accounting(self) -> None:
        """Stop slurmdbd; slurmctld keeps what it has to tell it until it is back."""
        self._daemons.terminate("slurmdbd")

    def start_accounting(self) -> None:
        """Start slurmdbd and wait until it answers."""
        self._daemons.start("slurmdbd", "slurmdbd", "-D")
        ask = ("sacctmgr", "show", "cluster")
        self._daemons.wait(lambda: self._succeeds(*ask), 30, "slurmdbd answers", "slurmdbd")

    def _start_munge(self) -> None:
        home = self.directory / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        options = [f"--{option}={home / name}" for option, name in files.items()]
        self._daemons.start("munged", "munged", "--foreground", *options)
        self._daemons.wait((home / "socket").exists, 30, "munged listens", "munged")

    def _start_database(self) -> None:
        # Only root of this machine reaches the socket, so the database needs no password and no network.
        options = ("--no-defaults", "--user=root", f"--datadir={self._database}")
        tables = ("--skip-test-db", "--auth-root-authentication-method=normal")
        try:
            self.run("mariadb-install-db", *options, *tables)
        except subprocess.CalledProcessError as error:
            raise ClusterError(f"mariadb-install-db failed:\n{error.stdout}{error.stderr}") from error
        listen = (f"--socket={self._database}/socket", "--skip-networking")
        self._daemons.start("mariadbd", "mariadbd", *options, *listen)
        self._daemons.wait((self._database / "socket").exists, 60, "the database listens", "mariadbd")

    def _start_slurmd(self, node: str) -> None:
        self._daemons.start(node, "slurmd", "-D", "-f", str(self.conf), "-N", node)

    def _wait_ready(self, node: str, since: datetime = datetime.min) -> None:
        def ready() -> bool:
            text = self.run("scontrol", "show", "node", node)
            free = re.search(r" State=(IDLE|MIXED|ALLOCATED)(\+PLANNED|\+COMPLETING)* ", text)
            started = re.search(r"SlurmdStartTime=(\d\S+)", text)
            return bool(free and started and datetime.fromisoformat(started[1]) >= since)

        self._daemons.wait(ready, 60, f"{node} takes jobs", node)

    def _succeeds(self, *command: str) -> bool:
        with suppress(subprocess.CalledProcessError):
            self.run(*command)
            return True
        return False


def free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens on, below those that the kernel gives to outgoing connections."""
    for first in random.sample(range(20000, 30000, count), 100):
        ports = list(range(first, first + count))
        with ExitStack() as stack, suppress(OSError):
            for port in ports:
                stack.enter_context(socket.socket()).bind(("", port))
            return ports
    raise ClusterError(f"no {count} free ports in a row between 20000 and 30000")


def main(arguments: list[str] | None = None) -> int:
    """The command line: up, down, env, status."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm_cluster", description="A Slurm on this machine.")
    parser.add_argument("action", choices=("up", "down", "env", "status"))
    parser.add_argument("--dir", type=Path, default=BY_HAND, help="its folder (default: %(default)s)")
    parser.add_argument("--max-array-size", type=int, default=1001, metavar="N")
    options = parser.parse_args(arguments)
    cluster = SlurmCluster(options.dir, max_array_size=options.max_array_size, lasting=True)
    try:
        _act(options.action, cluster)
    except (ClusterError, subprocess.CalledProcessError) as error:
        print(error, getattr(error, "stderr", ""), file=sys.stderr)
        return 1
    return 0


def _act(action: str, cluster: SlurmCluster) -> None:
    if action == "up":
        if missing := slurm_missing():
            raise ClusterError(missing)
        cluster.start()
    elif not cluster.conf.exists():
        raise ClusterError(f"{cluster.directory}: no cluster here; `up` starts one")
    if action == "down":
        cluster.stop()
    elif action == "status":
        print(cluster.run("sinfo", "-N", "-l"), cluster.run("squeue"), sep="\n", end="")
    else:
        print(f"export SLURM_CONF={shlex.quote(str(cluster.conf))}")


if __name__ == "__main__":
    sys.exit(main())
