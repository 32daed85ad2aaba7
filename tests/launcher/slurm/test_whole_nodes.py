"""Array tasks that have nodes for themselves: what they ask for, and what is said where much of a node is idle."""

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError
from launcher.config.config import Config, load_config
from launcher.slurm.capacity import Nodes
from launcher.slurm.scripts import asked_options
from launcher.slurm.slurm_executor import SlurmExecutor
from launcher.slurm.task_size import task_size
from launcher.slurm.whole_nodes import idle
from tests.support.launcher_runs import write_config

CPU_NODE = Nodes("main", True, 4, 64, 0, 256 << 30, True)
GPU_NODE = Nodes("main", True, 4, 64, 4, 256 << 30, True)
SMALL_NODE = Nodes("main", True, 4, 16, 0, 32 << 30, True)


def config_with(folder: Path, node: dict[str, Any], **slurm: Any) -> Config:
    return load_config(write_config(folder, executor="slurm", node={"workers": 2, **node}, slurm=slurm))


def said(config: Config, *nodes: Nodes, memory: int | None = None) -> str | None:
    asked = asked_options(config, SlurmExecutor().resources(config))
    return idle(config, task_size(config, asked), nodes, memory)


@pytest.mark.parametrize(
    ("node", "nodes", "memory", "words"),
    [
        ({"processes": 4}, [CPU_NODE], None, "8 of 64 CPUs of a node that it has for itself; to use all: node.processes: auto"),
        ({}, [SMALL_NODE, CPU_NODE], None, "2 of 64 CPUs of"),
        ({"processes": 1}, [GPU_NODE], None, "2 of 64 CPUs, 1 of 4 GPUs of"),
        ({"devices": "cpu", "processes": 32}, [GPU_NODE], None, "0 of 4 GPUs of"),
        ({"processes": "auto"}, [GPU_NODE], None, "to use all: node.workers: 16"),
        ({"processes": "auto", "devices": "cpu"}, [GPU_NODE], None, "to use all: node.devices: auto"),
        ({"processes": "auto"}, [CPU_NODE], 8 << 30, "8.0 GiB of 256.0 GiB of memory of a node"),
    ],
)  # fmt: skip
def test_what_is_idle_of_a_whole_node_is_told_with_what_to_set(
    tmp_path: Path, node: dict[str, Any], nodes: list[Nodes], memory: int | None, words: str
) -> None:
    assert words in (said(config_with(tmp_path, node), *nodes, memory=memory) or "")


@pytest.mark.parametrize(
    ("node", "nodes", "memory"),
    [
        ({"processes": "auto"}, [CPU_NODE, SMALL_NODE], None),
        ({"processes": 24}, [CPU_NODE], None),
        ({"workers": 12}, [GPU_NODE], None),  # a process for each GPU that it finds
        ({"processes": "auto"}, [CPU_NODE], 200 << 30),
        ({"processes": 1}, [], None),
    ],
)
def test_of_little_that_is_idle_nothing_is_said(
    tmp_path: Path, node: dict[str, Any], nodes: list[Nodes], memory: int | None
) -> None:
    assert said(config_with(tmp_path, node), *nodes, memory=memory) is None


def test_as_many_processes_as_a_node_has_room_for_ask_for_those_of_the_least(tmp_path: Path) -> None:
    def asked(**slurm: Any) -> dict[str, str | None]:
        config = config_with(tmp_path, {"processes": "auto"}, **slurm)
        options = asked_options(config, SlurmExecutor().resources(config))
        return {**options, "cpus": str(task_size(config, options).cpus)}

    assert asked()["cpus"] == "2"
    assert "mem" not in asked()
    assert asked(cpus_per_task=16)["cpus"] == "16"
    assert asked(exclusive=True, gpus_per_node=4)["cpus"] == "8"
    assert asked(exclusive=True)["mem"] == "0"
    assert asked(exclusive=True, mem_per_cpu="2G").get("mem") is None
    assert "mem" not in asked(exclusive="user")


def test_gpus_of_the_whole_job_are_shared_by_its_nodes(tmp_path: Path) -> None:
    def size(**slurm: Any) -> tuple[int, int]:
        config = config_with(tmp_path, {}, **slurm)
        found = task_size(config, asked_options(config, SlurmExecutor().resources(config)))
        assert found.processes == config.processes
        return found.gpus, found.cpus

    with pytest.raises(InputError, match=r"node.processes: 3, each with 2 GPUs to itself .* need 6, .* asks for 4"):
        task_size(
            config_with(tmp_path, {"processes": 3, "gpus_per_process": 2}, gpus_per_node=4), {"gpus-per-node": "4"}
        )
    assert size(gpus=4, nodes_per_task=2) == (2, 4)
    assert size(gpus="a100:3", nodes_per_task=2) == (2, 4)
    assert size(gpus_per_node=4, nodes_per_task=2) == (4, 8)
    assert size(gpus=4) == (4, 8)


def test_tasks_on_several_nodes_have_all_of_each_that_their_job_has(tmp_path: Path) -> None:
    from jobs.storage.spans import Spans
    from jobs.storage.submission import NodeSettings, Submission
    from launcher.plan.plan import make_plan
    from launcher.slurm.scripts import array_script

    config = config_with(tmp_path, {"processes": "auto"}, nodes_per_task=2, exclusive=True)
    made = Submission(1, "slurm", 0.0, 1, Spans([(0, 1)]), ((0, 1),), NodeSettings())
    line = array_script(make_plan(config).run, config, made).splitlines()[-1]
    assert line.startswith("exec env -u SLURM_CPUS_PER_TASK -u SRUN_CPUS_PER_TASK srun ")
    assert "--cpus-per-task" not in line
