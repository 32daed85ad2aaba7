"""A real Slurm on this one machine, for the tests: munged, MariaDB, slurmdbd, slurmctld and some slurmd.

Needs root and, on Debian, `apt-get install slurm-wlm slurmdbd munge mariadb-server`. All else (configuration,
key, ports, sockets, data, logs) is its own and lives in one folder; the system's services are left alone.
The tests get it from the fixtures `slurm`, and `site` for one that is set up as elsewhere (slurm_fixtures.py); by hand:

    python -m tests.slurm_cluster up [--dir D] [--site NAME] [--set MaxArraySize=50]
    eval "$(python -m tests.slurm_cluster env)"; sinfo
    python -m tests.slurm_cluster down
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

try:
    import psutil
except ModuleNotFoundError:
    sys.exit("psutil is not installed, which tests need: make .venv/.installed-all")

from tests.support.patience import PATIENCE
from tests.support.slurm_conf import USUAL, Site, check_folder, free_ports, write_configuration
from tests.support.slurm_daemons import MEMORY_CGROUP, ClusterError, Daemons
from tests.support.slurm_services import Services
from tests.support.slurm_sites import SITES

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
BOOKS = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacct")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
BY_HAND = Path(tempfile.gettempdir()) / "slurm-cluster"
_ROOT = Path(__file__).parents[1]
# What a job, or its user's own settings, would tell Slurm's commands.
_SLURMS_OWN = ("SLURM", "SBATCH", "SQUEUE", "SACCT", "SCANCEL", "SINFO", "SALLOC", "SRUN")


def slurm_missing(site: Site = USUAL) -> str | None:
    """What this machine lacks to run such a cluster, in words, or None."""
    wanted = PROGRAMS + (BOOKS if site.accounting else ())
    if missing := [name for name in wanted if not shutil.which(name, path=PATH)]:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm slurmdbd munge mariadb-server"
    return None if os.geteuid() == 0 else "only root can run a Slurm: it makes devices and cgroups"


class SlurmCluster:
    """A cluster as a site has set it up, beside any other on this machine.

    It ends when the process that started it does, however that ends, with all its jobs' processes.

    Attributes:
        env: the environment in which Slurm's commands talk to this cluster.
        memory_limits: whether a job over its --mem is killed; needs cgroup v1.
        services: munged and the accounting.
        others: the site's further clusters, by name.

    Args:
        directory: where everything goes, deleted by stop(); default: a new temporary one.
        site: how it is set up.
        lasting: it outlives the process that started it.
        first: the cluster of the same site that has munged and slurmdbd, `name` this one's.
    """

    def __init__(
        self,
        directory: Path | None = None,
        site: Site = USUAL,
        *,
        lasting: bool = False,
        first: SlurmCluster | None = None,
        name: str = "test",
    ) -> None:
        self.directory = (directory or Path(tempfile.mkdtemp(prefix="slurm-"))).resolve()
        self.site = site
        self.name = name
        self.conf = self.directory / "slurm.conf"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(_SLURMS_OWN)}
        self.env |= {"PATH": PATH, "SLURM_CONF": str(self.conf)}
        self.memory_limits = site.cgroup and os.access(MEMORY_CGROUP / "memory.limit_in_bytes", os.W_OK)
        self._home = first.directory if first else self.directory
        # slurmdbd has no setting for the database's socket.
        daemon_env = {**self.env, "MYSQL_UNIX_PORT": str(self._home / "database" / "socket")}
        self._daemons = Daemons(daemon_env, self.directory / "log")
        self.services: Services = first.services if first else Services(self.directory, site, self._daemons, self.run)
        self._lasting = lasting or first is not None
        self._watch: subprocess.Popen[bytes] | None = None
        others = () if first else site.others
        self.others = {other: SlurmCluster(self.directory / other, site, first=self, name=other) for other in others}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every daemon and wait until all nodes take jobs (2 s, 5 s with accounting). ClusterError: nothing is left."""
        check_folder(self.directory)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        clusters = [self, *self.others.values()]
        dbd, *ports = free_ports(1 + len(clusters) * (1 + len(self.site.nodes)))
        for cluster in clusters:
            own, ports = ports[: 1 + len(self.site.nodes)], ports[1 + len(self.site.nodes) :]
            cluster.configure([dbd, *own])
        if not self._lasting:
            self._watch = _watch_over(self.directory)
        self.services.start(*(cluster.name for cluster in clusters))
        for cluster in clusters:
            for node in self.site.node_names:
                cluster.start_node(node)
            cluster.start_controller()
        for command in map(shlex.split, self.site.commands):
            self.wait(partial(self._succeeds, *command), shlex.join(command))

    def configure(self, ports: list[int]) -> None:
        """Write its configuration; `ports`: slurmdbd's, its own slurmctld's, then one a node."""
        write_configuration(self.directory, self.site, self.name, self._home, ports, memory_limits=self.memory_limits)

    def stop(self) -> None:
        """Kill every process of the cluster and of its jobs, and delete its directory."""
        for cluster in (self, *self.others.values()):
            cluster._daemons.kill()
        if self.conf.exists():  # else it is somebody else's
            shutil.rmtree(self.directory)
        if self._watch:
            self._watch.communicate()
            self._watch = None

    def processes(self, node: str | None = None) -> list[psutil.Process]:
        """The processes of the whole cluster and of its jobs, or those of one node."""
        return self._daemons.processes(node)

    def run(self, *command: str) -> str:
        """The standard output of a Slurm command; an exit code other than 0 raises CalledProcessError."""
        done = subprocess.run(
            command, env=self.env, check=True, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
        return done.stdout

    def wait(self, predicate: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Poll until the predicate is true; after `timeout` seconds ClusterError, which quotes slurmctld."""
        self._daemons.wait(predicate, what, "slurmctld", timeout)

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
        for node in self.site.node_names:
            if not self._daemons.started(node):
                self.restart_node(node)
            self._succeeds("scontrol", "update", f"NodeName={node}", "State=RESUME")  # refused where it is not drained
        if self.site.accounting:
            self.set_user_limit(max_submit_jobs=-1)
        for cluster in (self, *self.others.values()):
            cluster.empty_queue()

    def empty_queue(self) -> None:
        """Cancel all jobs of all users and wait until they are gone."""
        queue = ("squeue", "--noheader", "--all", "--format=%A")
        if jobs := self.run(*queue).split():
            self.run("scancel", "--quiet", *jobs)
        self.wait(lambda: not self.run(*queue), "an empty queue")

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
        self.start_node(node)
        self._wait_ready(node, since)

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        self._daemons.start(node, "slurmd", "-D", "-f", str(self.conf), "-N", node)

    def stop_controller(self) -> None:
        """Stop slurmctld as an administrator would; jobs go on running."""
        self._daemons.terminate("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers and every node that was started has registered."""
        self._daemons.start("slurmctld", "slurmctld", "-D", "-f", str(self.conf))
        self.wait(lambda: self._succeeds("scontrol", "show", "config"), "slurmctld answers")
        for node in filter(self._daemons.started, self.site.node_names):
            self._wait_ready(node)

    def _wait_ready(self, node: str, since: datetime = datetime.min) -> None:
        def ready() -> bool:
            text = self.run("scontrol", "show", "node", node)
            free = re.search(r" State=(IDLE|MIXED|ALLOCATED)(\+PLANNED|\+COMPLETING)* ", text)
            started = re.search(r"SlurmdStartTime=(\d\S+)", text)
            return bool(free and started and datetime.fromisoformat(started[1]) >= since)

        self._daemons.wait(ready, f"{node} takes jobs", node)

    def _succeeds(self, *command: str) -> bool:
        with suppress(subprocess.CalledProcessError):
            self.run(*command)
            return True
        return False


def _watch_over(directory: Path) -> subprocess.Popen[bytes]:
    """A process that takes the cluster down when this one is gone: its standard input ends then, however that came."""
    command = [sys.executable, "-m", "tests.slurm_cluster", "watch", f"--dir={directory}"]
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=_ROOT, env=env, start_new_session=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm_cluster", description="A Slurm on this machine.")
    parser.add_argument("action", choices=("up", "down", "env", "status", "watch"))
    parser.add_argument("--dir", type=Path, default=BY_HAND, help="its folder (default: %(default)s)")
    parser.add_argument(
        "--site", choices=SITES, default="usual", help="as which site it is set up (default: %(default)s)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a line of slurm.conf")
    options = parser.parse_args(arguments)
    site = SITES[options.site]
    site = replace(site, lines=(*site.lines, *options.set))
    cluster = SlurmCluster(options.dir, site, lasting=True)
    try:
        _act(options.action, cluster)
    except (ClusterError, subprocess.CalledProcessError) as error:
        print(error, getattr(error, "stderr", ""), file=sys.stderr)
        return 1
    return 0


def _act(action: str, cluster: SlurmCluster) -> None:
    if action == "watch":
        sys.stdin.buffer.read()
        if cluster.conf.exists():
            cluster.stop()
    elif action == "up":
        if missing := slurm_missing(cluster.site):
            raise ClusterError(missing)
        cluster.start()
    elif not cluster.conf.exists():
        raise ClusterError(f"{cluster.directory}: no cluster here; `up` starts one")
    elif action == "down":
        cluster.stop()
    elif action == "status":
        print(cluster.run("sinfo", "-N", "-l"), cluster.run("squeue"), sep="\n", end="")
    else:
        print(f"export SLURM_CONF={shlex.quote(str(cluster.conf))}")


if __name__ == "__main__":
    sys.exit(main())
