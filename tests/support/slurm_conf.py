"""How a Slurm is set up, and the configuration files of it; tests/slurm_cluster.py writes them before all else."""

from __future__ import annotations

import os
import random
import socket
import stat
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.slurm_daemons import ClusterError


@dataclass(frozen=True)
class Node:
    """What a node has; memory in MB (None: slurm.conf does not tell), GPUs are made up."""

    cpus: int = 8
    memory: int | None = 6000
    gpus: int = 2


@dataclass(frozen=True)
class Site:
    """How a Slurm is set up. As it is: four nodes, partitions `main` and `urgent`, which preempts main, and accounting.

    Attributes:
        nodes: n1, n2 ...
        lines: of slurm.conf, over those of the base: each takes the place of the one with its key, or its partition; one
            that ends with = takes it out. `{directory}` is the cluster's folder.
        accounting: whether there is a slurmdbd, with limits.
        cgroup: whether the kernel ends what takes more memory than it asked for, where this machine can do that (v1).
        commands: that are run once it is up; each is tried until it succeeds.
        files: programs and scripts of the site, below its folder.
        others: names of further clusters with the same slurmdbd.
    """

    nodes: tuple[Node, ...] = (Node(),) * 4
    lines: tuple[str, ...] = ()
    accounting: bool = True
    cgroup: bool = True
    commands: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"n{number}" for number in range(1, len(self.nodes) + 1))


USUAL = Site()

# DefMemPerCPU: without it a job gets the memory of its whole node, and a node runs one job at a time.
# cred_expire: a requeued job waits until its credential has expired, by default 120 s.
# FirstJobId differs between clusters: their nodes share names, so the cgroups of equal job ids would collide.
SLURM_CONF = """\
ClusterName={name}
SlurmctldHost=localhost
SlurmctldPort={slurmctld_port}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket,cred_expire=20
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile={directory}/run/slurmctld.pid
SlurmdPidFile={directory}/run/%n.pid
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmdLogFile={directory}/log/%n.log
SlurmdParameters=config_overrides
PlugStackConfig={directory}/plugstack.conf
FirstJobId={first_job_id}
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
SlurmdTimeout=30
MinJobAge=60
ReturnToService=2
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={home}/munge/socket
AccountingStorageEnforce=associations,limits,qos
"""
SLURMDBD_CONF = """\
DbdHost=localhost
DbdPort={slurmdbd_port}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
SlurmUser=root
PidFile={home}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""
CGROUP_CONF = "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n"


def check_folder(directory: Path) -> None:
    """Raises ClusterError where no cluster can be."""
    if len(str(directory)) > 70:
        raise ClusterError(f"{directory}: too long a path for Unix sockets (70 characters at most)")
    if (directory / "slurm.conf").exists():
        raise ClusterError(f"{directory}: a cluster is here already; take it down first")
    if directory.exists() and any(directory.iterdir()):
        raise ClusterError(f"{directory}: not an empty folder")


def write_configuration(
    directory: Path, site: Site, name: str, home: Path, ports: list[int], *, memory_limits: bool
) -> None:
    """Fill the directory of a cluster with what its daemons need.

    `home` is that of munged and slurmdbd; `ports`: slurmdbd's, slurmctld's, then one a node.
    """
    for folder in ("log", "munge", "run", "state", *(f"spool/{node}" for node in site.node_names)):
        (directory / folder).mkdir(parents=True)
    directory.chmod(0o755)  # users other than root reach munged's socket through it
    for number in range(max((node.gpus for node in site.nodes), default=0)):
        os.mknod(directory / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # the numbers of /dev/null
    values = {
        "directory": directory,
        "home": home,
        "name": name,
        "slurmdbd_port": ports[0],
        "slurmctld_port": ports[1],
        "first_job_id": ports[1] * 100,
        "task_plugin": "task/cgroup" if memory_limits else "task/none",
    }
    base = SLURM_CONF + (ACCOUNTING if site.accounting else "AccountingStorageType=accounting_storage/none\n")
    nodes = [_node(*node) for node in zip(site.node_names, site.nodes, ports[2:], strict=True)]
    own = [line.replace("{directory}", str(directory)) for line in site.lines]
    conf = _over([*base.format(**values).splitlines(), *nodes], own)
    _write(directory / "slurm.conf", "\n".join([*conf, ""]).encode(), 0o644)
    _write(directory / "plugstack.conf", b"", 0o644)
    _write(directory / "cgroup.conf", CGROUP_CONF.encode(), 0o644)
    _write(directory / "gres.conf", "".join(_gres(directory, site)).encode(), 0o644)
    for file, text in site.files.items():
        _write(directory / file, text.replace("{directory}", str(directory)).encode(), 0o755)
    if home == directory:
        _write(directory / "munge" / "key", os.urandom(128), 0o600)
        _write(directory / "slurmdbd.conf", SLURMDBD_CONF.format(**values).encode(), 0o600)


def _node(name: str, node: Node, port: int) -> str:
    memory = "" if node.memory is None else f" RealMemory={node.memory}"
    gpus = f" Gres=gpu:{node.gpus}" if node.gpus else ""
    return f"NodeName={name} NodeHostname=localhost Port={port} CPUs={node.cpus}{memory}{gpus}"


def _gres(directory: Path, site: Site) -> Iterable[str]:
    for name, node in zip(site.node_names, site.nodes, strict=True):
        if node.gpus:
            yield f"NodeName={name} Name=gpu File={directory}/gpu[0-{node.gpus - 1}]\n"


def _over(base: Iterable[str], own: Iterable[str]) -> list[str]:
    """The lines of slurm.conf with a site's own in their places: Slurm takes no key twice."""
    kept: dict[str, str] = {}
    for line in (*base, *own):
        key, _, value = line.partition("=")
        kept[f"{key}={value.split()[0]}" if key in ("PartitionName", "NodeName") else key] = line
    return [line for line in kept.values() if not line.endswith("=")]


def _write(path: Path, content: bytes, mode: int) -> None:
    path.touch(mode=mode)
    path.write_bytes(content)
    path.chmod(mode)


def free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens on, below those that the kernel gives to outgoing connections.

    Each of pytest's workers has 1000 of its own: what one has found free, another must not take before it is used.
    """
    first_own = 20000 + 1000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 12)
    own = range(first_own, first_own + 1000 - count, count)
    for first in random.sample(own, len(own)):
        ports = list(range(first, first + count))
        with ExitStack() as stack, suppress(OSError):
            for port in ports:
                stack.enter_context(socket.socket()).bind(("", port))
            return ports
    raise ClusterError(f"no {count} free ports in a row from {own.start} to {own.stop}")
