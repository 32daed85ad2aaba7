"""Memory: what a task may use is the least of all limits, whoever keeps them."""

import resource
import subprocess
import sys

import pytest

from jobs.machine import allocation, memory

MB = 1 << 20


@pytest.mark.parametrize(
    ("environment", "megabytes"),
    [
        ({}, None),
        ({"SLURM_MEM_PER_NODE": "400"}, 400),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
        ({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "4"}, 400),
        ({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_PER_TASK": "3"}, 300),
        ({"SLURM_MEM_PER_CPU": "100"}, 100),
        ({"SLURM_MEM_PER_GPU": "1000", "SLURM_GPUS_ON_NODE": "2"}, 2000),
        ({"SLURM_MEM_PER_NODE": "", "SLURM_MEM_PER_CPU": "x"}, None),
    ],
)
def test_what_a_scheduler_gave_is_told_by_node_cpu_or_gpu(environment: dict[str, str], megabytes: int | None) -> None:
    assert allocation.memory(environment) == (megabytes and megabytes * MB)


def test_a_request_is_a_limit_where_nothing_enforces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    assert memory.task_limit() == 90 * MB
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")
    assert memory.task_limit() > 90 * MB


@pytest.mark.parametrize(("soft", "limit", "kept"), [(300, 500, 300), (500, 300, 300), (-1, 300, 300)])
def test_a_limit_on_data_that_is_lower_already_stays(soft: int, limit: int, kept: int) -> None:
    code = (
        "import resource; from jobs.machine.memory import limit_data; limit_data({}); print(resource.getrlimit({})[0])"
    )

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (soft * MB if soft > 0 else -1, resource.RLIM_INFINITY))

    command = [sys.executable, "-c", code.format(limit * MB, resource.RLIMIT_DATA)]
    done = subprocess.run(command, preexec_fn=lower, capture_output=True, text=True, check=True)
    assert int(done.stdout) == kept * MB


def test_sizes_are_told_in_words() -> None:
    assert [memory.in_words(size) for size in (300 * MB, 1 << 30, 3 << 29)] == ["300 MiB", "1.0 GiB", "1.5 GiB"]
