"""Compute threads: those of an array task that compute are no more than its CPUs, whatever the libraries would like."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from jobs.machine.devices import CPU_SHARE
from tests.support.launcher_runs import wait_until
from tests.support.task_runs import command, make_run, run_task, written

pytest.importorskip("torch")

# CPU seconds of a task's children that are looked at, and the share of them that those who compute have at least: threads that
# read and write have a tenth. Seconds of CPU, since on a loaded machine any thread waits its turn; and not the supervisor's,
# who looks at the children twice a second: the longer they take for their work, the more it does meanwhile.
_WINDOW = 2.0
_COMPUTING = 0.75


def thread_times(pid: int) -> dict[int, float]:
    """CPU seconds so far of each thread of all below ``pid``."""
    times = {}
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times.update({thread.id: thread.user_time + thread.system_time for thread in process.threads()})
    return times


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
            before = thread_times(task.pid)
            spent = {}

            def has_computed() -> bool:
                spent.update({thread: time - before.get(thread, 0) for thread, time in thread_times(task.pid).items()})
                return sum(spent.values()) > _WINDOW

            wait_until(has_computed)
        finally:
            task.kill()
    assert sum(sorted(spent.values())[-cpus:]) > _COMPUTING * sum(spent.values()), spent


def test_threads_that_a_job_sets_itself_stay(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tests.example_jobs.threaded_jobs:OwnThreads", 16, workers=1, params={"count": 3})
    assert run_task(run).returncode == 0
