"""How many array tasks run at once, from what sinfo says of the nodes."""

import pytest

from launcher.slurm.capacity import Nodes, misfits, read_nodes, tasks_at_once

SINFO = """\
main*|4|8|(null)|idle|6000|NO
main*|1|8|(null)|down*|6000|NO
main*|2|8|(null)|idle*|6000|NO
gpu|2|64|gpu:a100:4(S:0-1),gpu:v100:2|mixed|256000|FORCE:1
gpu|1|64|gpu:4|drained|256000|FORCE:1
cloud|10|16|(null)|idle~|1|YES:4
whole|3|32|(null)|idle|128000|EXCLUSIVE
a line of a site's wrapper
"""


def test_nodes_that_run_jobs_are_read_with_what_they_have() -> None:
    assert read_nodes(SINFO) == [
        Nodes("main", True, 4, 8, 0, 6000 << 20, False),
        Nodes("gpu", False, 2, 64, 6, 256000 << 20, False),
        Nodes("cloud", False, 10, 16, 0, 1 << 20, False),
        Nodes("whole", False, 3, 32, 0, 128000 << 20, True),
    ]


@pytest.mark.parametrize(
    ("partitions", "cpus", "gpus", "whole_nodes", "tasks"),
    [
        (None, 3, 0, False, 8),  # 2 on each of the 4 nodes of the default partition
        ("main", 9, 0, False, 0),
        ("main,cloud", 8, 0, False, 4 + 20),
        ("gpu", 4, 2, False, 6),
        ("gpu", 64, 1, False, 2),
        ("cloud", 1, 0, True, 10),
        ("whole", 1, 0, False, 3),
        ("nowhere", 1, 0, False, 0),
    ],
)
def test_tasks_at_once_are_what_fits_on_the_nodes_of_the_partitions(
    partitions: str | None, cpus: int, gpus: int, whole_nodes: bool, tasks: int
) -> None:
    assert tasks_at_once(read_nodes(SINFO), partitions, cpus, gpus, whole_nodes=whole_nodes) == tasks


@pytest.mark.parametrize(
    ("partitions", "cpus", "told"),
    [
        (None, 9, ["an array task asks for 9 CPUs, and no node of the partition has more than 8"]),
        ("main,cloud", 17, ["an array task asks for 17 CPUs, and no node of the partition has more than 16"]),
        ("main,cloud", 16, []),
        ("gpus", 1, ["no node that is up is in the partition gpus; of these there are some: main, gpu, cloud, whole"]),
        ("gpu", 64, []),
    ],
)
def test_what_no_node_is_is_told(partitions: str | None, cpus: int, told: list[str]) -> None:
    assert misfits(read_nodes(SINFO), partitions, cpus) == told


def test_of_nodes_that_are_not_known_nothing_is_told() -> None:
    assert misfits([], "main", 1000) == []
