"""Nodes of different sizes, and nodes that are always allocated whole: each is used as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs.machine.devices import usable_cpus
from jobs.machine.memory import task_limit
from jobs.storage.attempts import Attempts
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun, result_data, start_of

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]


def waits_for_all(folder: Path, tasks: int) -> str:
    """A template whose tasks begin when all of them are there: no node does all the work before others have begun."""
    here = f"{folder}/here"
    lines = [
        "#!/bin/bash",
        f"mkdir -p {here}; touch {here}/$SLURM_ARRAY_TASK_ID",
        f"until [ $(ls {here} | wc -l) = {tasks} ]; do sleep 0.1; done",
        "# launcher: command",
        "",
    ]
    (folder / "own.sbatch").write_text("\n".join(lines))
    return "./own.sbatch"


def devices_by_node(toy: SlurmRun) -> Mapping[str, tuple[str, ...]]:
    starts = [start_of(attempt) for attempt in Attempts(toy.run).read()]
    return {start.host: tuple(start.devices) for start in starts}


def filling(site: BringUp, name: str, folder: Path, **options: Any) -> SlurmRun:
    """A run of three tasks, each with a node for itself and as many processes as that has room for."""
    return SlurmRun(
        site(name), folder, "Toy", {"delay": 0.02}, node={"workers": 0, "processes": "auto"},
        options={"mem": None, "template": waits_for_all(folder, 3), **options},
    )  # fmt: skip


@pytest.mark.thorough
def test_what_is_idle_of_a_whole_node_is_told_when_a_run_is_planned_and_submitted(
    site: BringUp, tmp_path: Path
) -> None:
    toy = SlurmRun(
        site("whole-nodes"), tmp_path, "Toy", node={"workers": 1, "processes": 1}, options={"hold": True, "mem": "300M"}
    )
    for command in ("plan", "submit"):
        said = toy.launcher(command, toy.config.name).stdout
        assert "an array task uses 1 of 4 CPUs, 1 of 3 GPUs, 0.3 GiB of 5.9 GiB of memory of a node" in said
        assert "node.processes: auto" in said


@pytest.mark.parametrize(
    ("name", "options"),
    [("whole-nodes", {}), pytest.param("mixed-nodes", {"exclusive": True}, marks=pytest.mark.thorough)],
)
def test_each_node_has_processes_for_all_that_it_has(
    site: BringUp, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    toy = filling(site, name, tmp_path, **options)
    toy.submit()
    assert toy.submission(1).tasks == 3
    assert toy.end()["state"] == "complete"
    assert devices_by_node(toy) == {
        "n1": ("cpu",),
        "n2": ("cpu",) * min(2, usable_cpus()),
        "n3": ("cuda:0", "cuda:1", "cuda:2"),
    }
    few = SlurmRun(toy.slurm, tmp_path / "few", "Toy", node={"workers": 0, "processes": 1})
    few.submit()
    assert few.end()["state"] == "complete"
    assert result_data(toy.run) == result_data(few.run)


@pytest.mark.thorough
def test_a_task_that_fills_a_node_has_its_memory(site: BringUp, tmp_path: Path) -> None:
    toy = filling(site, "mixed-nodes", tmp_path, exclusive=True)
    toy.submit()
    assert toy.end()["state"] == "complete"
    # All that the machine has; else 512 MB a CPU, which the site gives where nothing is asked.
    assert {attempt.beat.memory_limit for attempt in Attempts(toy.run).read()} == {task_limit()}


@pytest.mark.thorough
def test_a_task_of_several_nodes_fills_each(site: BringUp, tmp_path: Path) -> None:
    toy = filling(site, "mixed-nodes", tmp_path, exclusive=True, nodes_per_task=3, tasks=1, template="cpu")
    toy.submit()
    assert toy.end()["state"] == "complete"
    processes = {node: len(devices) for node, devices in devices_by_node(toy).items()}
    assert processes == {"n1": 1, "n2": min(2, usable_cpus()), "n3": min(4, usable_cpus())}
