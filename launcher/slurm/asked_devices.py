"""AskedDevices: the devices that processes are to have, against the GPUs that array tasks ask for and that nodes have. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.slurm.capacity import Nodes
from launcher.units import counted

if TYPE_CHECKING:
    from launcher.config.config import Config


def device_remarks(config: Config, asked: int, nodes: Sequence[Nodes]) -> list[str]:
    """What does not fit together, in words; ``asked`` GPUs on each of these nodes (none: they are not known)."""
    needed, most = _needed(config), max((group.gpus for group in nodes), default=None)
    devices = config.node.devices if isinstance(config.node.devices, str) else ", ".join(config.node.devices)
    if most is not None and max(asked, needed) > most:
        need = counted(max(asked, needed), "GPU")
        return [f"array tasks need {need} on a node, and no node of the partition has more than {most}"]
    if needed > asked:
        return [
            f"node.devices: {devices} needs {counted(needed, 'GPU')}, and array tasks ask for {asked or 'none'}, so that Slurm "
            f"may show them no more: slurm.gpus_per_task: {needed}"
        ]
    if asked and config.node.devices == "cpu":
        return [f"array tasks ask for {counted(asked, 'GPU')}, and node.devices: cpu uses none"]
    return []


def _needed(config: Config) -> int:
    """The GPUs that node.devices names; none where it takes what there is."""
    devices = config.node.devices
    if isinstance(devices, str):
        return int(devices == "cuda")
    return max((int(name.partition(":")[2]) + 1 for name in devices if name.startswith("cuda:")), default=0)
