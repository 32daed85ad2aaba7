"""Compute threads: the runnable threads of an array task stay within its CPUs, whatever the libraries would like."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs.machine.devices import CPU_SHARE
from tests.support.launcher_runs import wait_until
from tests.support.task_runs import command, make_run, run_task, written

# Samples of /proc: enough that a storm of threads cannot hide, each a moment's look.
_LOOKS = 150


def running_threads(pid: int) -> int:
    """Threads of the tree of ``pid`` that run or want to, now."""
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(state == "R" for process in tree for state in _states(process.pid))


def _states(pid: int) -> Iterator[str]:
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            yield (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return


@pytest.mark.parametrize(
    ("cpus", "processes", "workers"),
    [
        (1, 1, 0),
        pytest.param(2, 2, 0, marks=pytest.mark.thorough),
        pytest.param(2, 1, 1, marks=pytest.mark.thorough),
        (4, 1, 2),
    ],
)
def test_a_task_has_no_more_running_threads_than_cpus(tmp_path: Path, cpus: int, processes: int, workers: int) -> None:
    """The task is told its CPUs as by Slurm; the machine's own number is no matter: threads are started all the same."""
    run = make_run(
        tmp_path, "tests.example_jobs.threaded_jobs:MatrixProducts", 100_000, batch_size=8, workers=workers,
        processes=processes,
    )  # fmt: skip
    environment = {**os.environ, CPU_SHARE: str(cpus)}
    with subprocess.Popen(command(run), env=environment, stdout=subprocess.DEVNULL) as task:
        try:
            wait_until(lambda: written(run) > 3)
            seen = []
            for _ in range(_LOOKS):
                seen.append(running_threads(task.pid))
                time.sleep(0.005)
        finally:
            task.kill()
    # More CPUs than the machine has cannot be seen as such from the outside: affinity is a limit as well.
    allowed = max(processes * max(workers, 1), min(cpus, len(os.sched_getaffinity(0))))
    # The supervisor's own thread wakes now and then; a process and a worker overlap while they hand over.
    above = sum(count > allowed + 1 for count in seen)
    assert max(seen) > 0
    assert above <= _LOOKS // 20, seen


def test_threads_that_a_job_sets_itself_stay(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tests.example_jobs.threaded_jobs:OwnThreads", 16, workers=1, params={"count": 3})
    assert run_task(run).returncode == 0
