"""node.devices against the GPUs that array tasks ask for, and those that the partition's nodes have."""

from pathlib import Path
from typing import Any

import pytest

from launcher.config.config import config_from_mapping
from launcher.slurm.asked_devices import device_remarks
from launcher.slurm.capacity import Nodes

NODES = [Nodes("gpu", True, 2, 8, 2), Nodes("gpu", True, 1, 8, 4)]


def remarks(devices: Any, asked: int, nodes: list[Nodes]) -> list[str]:
    mapping = {"name": "a", "job": {"class": "a:B"}, "data": {"manifest": "x.csv"}, "node": {"devices": devices}}
    return device_remarks(config_from_mapping(mapping, Path("config.yaml")), asked, nodes)


@pytest.mark.parametrize(
    ("devices", "asked", "message"),
    [
        ("cuda", 0, "node.devices: cuda needs 1 GPU, and array tasks ask for none"),
        (["cuda:0", "cuda:1"], 1, "node.devices: cuda:0, cuda:1 needs 2 GPUs, and array tasks ask for 1"),
        (["cuda:4"], 4, "array tasks need 5 GPUs on a node, and no node of the partition has more than 4"),
        ("auto", 8, "array tasks need 8 GPUs on a node"),
        ("cpu", 2, "array tasks ask for 2 GPUs, and node.devices: cpu uses none"),
    ],
)
def test_what_does_not_fit_is_told(devices: Any, asked: int, message: str) -> None:
    (found,) = remarks(devices, asked, NODES)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("devices", "asked"), [("auto", 0), ("auto", 4), ("cuda", 1), ("cpu", 0), (["cuda:1", "cpu"], 2)]
)
def test_what_fits_is_not_talked_of(devices: Any, asked: int) -> None:
    assert remarks(devices, asked, NODES) == []


def test_where_nodes_are_not_known_nothing_is_said_of_them() -> None:
    assert remarks("auto", 8, []) == []
