"""The configuration files of the test cluster; tests/slurm_cluster.py writes them before all else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")

# DefMemPerCPU: without it a job gets the memory of its whole node, and a node runs one job at a time.
# cred_expire: a requeued job waits until its credential has expired, by default 120 s.
# FirstJobId differs between clusters: their nodes share names, so the cgroups of equal job ids would collide.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={slurmctld_port}
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket,cred_expire={requeue_wait}
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
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={directory}/munge/socket
AccountingStorageEnforce=associations,limits,qos

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
MaxArraySize={max_array_size}
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
SlurmdTimeout=30
MinJobAge=60
ReturnToService=2

GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeHostname=localhost Port={port} CPUs=8 RealMemory=6000 Gres=gpu:2"

SLURMDBD_CONF = """\
DbdHost=localhost
DbdPort={slurmdbd_port}
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
SlurmUser=root
PidFile={directory}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""
CGROUP_CONF = "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n"
GRES_CONF = "NodeName=n[1-4] Name=gpu File={directory}/gpu[0-1]\n"


def write_configuration(
    directory: Path, ports: list[int], *, max_array_size: int, requeue_wait: int, memory_limits: bool
) -> None:
    """Fill the directory with what the daemons need. `ports`: slurmctld's, slurmdbd's, then one a node."""
    for name in ("log", "munge", "run", "state", *(f"spool/{node}" for node in NODES)):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)  # users other than root reach munged's socket through it
    for gpu in ("gpu0", "gpu1"):
        os.mknod(directory / gpu, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # the numbers of /dev/null
    nodes = [NODE.format(name=name, port=port) for name, port in zip(NODES, ports[2:], strict=True)]
    values = {
        "directory": directory,
        "slurmctld_port": ports[0],
        "slurmdbd_port": ports[1],
        "first_job_id": ports[0] * 100,
        "requeue_wait": requeue_wait,
        "max_array_size": max_array_size,
        "task_plugin": "task/cgroup" if memory_limits else "task/none",
        "nodes": "\n".join(nodes),
    }
    _write(directory / "slurm.conf", SLURM_CONF.format(**values).encode(), 0o644)
    _write(directory / "munge" / "key", os.urandom(128), 0o600)
    _write(directory / "slurmdbd.conf", SLURMDBD_CONF.format(**values).encode(), 0o600)
    _write(directory / "plugstack.conf", b"", 0o644)
    _write(directory / "cgroup.conf", CGROUP_CONF.encode(), 0o644)
    _write(directory / "gres.conf", GRES_CONF.format(**values).encode(), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.touch(mode=mode)
    path.write_bytes(content)
