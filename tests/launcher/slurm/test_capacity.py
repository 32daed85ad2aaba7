"""How many array tasks run at once, from what sinfo says of the nodes."""

import pytest

from launcher.slurm.capacity import Nodes, default_time, misfits, read_nodes, tasks_at_once

SINFO = """\
main*|4|8|(null)|idle|6000|NO|1:00|10:00
main*|1|8|(null)|down*|6000|NO|1:00|10:00
gpu|2|64|gpu:a100:4(S:0-1),gpu:v100:2|mixed|256000|FORCE:1|n/a|1-00:00:00
gpu|1|64|gpu:4|drained|256000|FORCE:1|n/a|1-00:00:00
cloud|10|16|(null)|idle~|1|YES:4|n/a|infinite
whole|3|32|(null)|idle|128000|EXCLUSIVE|n/a|infinite
a line of a site's wrapper
"""


def test_nodes_are_read_with_what_they_have_and_whether_they_run_jobs() -> None:
    assert read_nodes(SINFO) == [
        Nodes("main", True, 4, 8, 0, 6000 << 20, default_time=60, time=600),
        Nodes("main", True, 1, 8, 0, 6000 << 20, is_usable=False, default_time=60, time=600),
        Nodes("gpu", False, 2, 64, 6, 256000 << 20, time=86400),
        Nodes("gpu", False, 1, 64, 4, 256000 << 20, is_usable=False, time=86400),
        Nodes("cloud", False, 10, 16, 0, 1 << 20),
        Nodes("whole", False, 3, 32, 0, 128000 << 20, whole=True),
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
        ("gpus", 1, ["there is no partition gpus; there are: main, gpu, cloud, whole"]),
        ("gpu", 64, []),
    ],
)
def test_what_no_node_is_is_told(partitions: str | None, cpus: int, told: list[str]) -> None:
    assert misfits(read_nodes(SINFO), partitions, cpus) == told


def test_of_nodes_that_are_not_known_nothing_is_told() -> None:
    assert misfits([], "main", 1000) == []


@pytest.mark.parametrize(
    ("partitions", "seconds"), [(None, 60), ("gpu", 86400), ("cloud", None), ("cloud,main,gpu", 60), ("nowhere", None)]
)
def test_a_job_that_asks_for_no_time_has_its_partitions_default_or_most(
    partitions: str | None, seconds: int | None
) -> None:
    assert default_time(read_nodes(SINFO), partitions) == seconds
