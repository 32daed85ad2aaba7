"""Arrays of real workers (``python -m jobs``) for chaos tests: they look often, and soon take somebody for silent."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from tests.support.patience import PATIENCE
from tests.support.task_runs import await_end, content, done_rows, make_run, run_task, write_submission

QUICK = """
import os, sys
from jobs.__main__ import main
from jobs.node.supervisor import claimer, task
claimer.TIMING = claimer.Timing(look=0.2, silence=2.0, reads=4)
task._LOOK = 0.2
os._exit(main())
"""


class WorkerArray:
    """The workers of a submission, by their index; one that is started again takes the place of the one before."""

    def __init__(self, run: RunDir, submission: int = 1) -> None:
        self.run = run
        self.submission = submission
        self.workers: dict[Any, psutil.Popen] = {}

    def start(self, index: int, place: Any = None, environment: Mapping[str, str] | None = None) -> psutil.Popen:
        """``place`` is the index unless it is another start of the same."""
        arguments = [str(self.run.path), str(self.submission), str(index)]
        with self.run.log(self.submission, index).open("ab") as log:
            process = psutil.Popen(
                [sys.executable, "-P", "-c", QUICK, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        self.workers[index if place is None else place] = process
        return process

    @property
    def running(self) -> list[psutil.Popen]:
        return [worker for worker in self.workers.values() if worker.poll() is None]

    def processes(self) -> list[psutil.Process]:
        """All that run, children included."""
        return [process for worker in self.running for process in tree(worker)]

    def codes(self, timeout: float = PATIENCE) -> list[int]:
        """What all of them exit with."""
        return [worker.wait(timeout) for worker in self.workers.values()]

    def kill(self) -> None:
        """All at once, as where the node dies."""
        everyone = self.processes()
        for process in everyone:
            with suppress(psutil.NoSuchProcess):  # some end with the one before them, or by themselves
                process.kill()
        self.codes()
        await_end(everyone)


def tree(worker: psutil.Popen) -> list[psutil.Process]:
    """The supervisor and its children."""
    try:
        return [psutil.Process(worker.pid), *worker.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def worker_array(run: RunDir, submission: int = 1) -> Iterator[WorkerArray]:
    array = WorkerArray(run, submission)
    try:
        yield array
    finally:
        array.kill()


def make_runs(folder: Path, rows: int, **submission: Any) -> tuple[RunDir, RunDir]:
    """The same work twice, of three shards: one that a single undisturbed worker has done, and one to be done."""
    calm = make_run(folder / "calm", "Random", rows, shards=3)
    assert run_task(calm).returncode == 0
    settings = {"shards": 3, "workers": 1, "sync_interval": 0.3, **submission}
    return calm, make_run(folder / "wild", "Random", rows, **settings)


def left(run: RunDir) -> Spans:
    """Rows that nobody has done."""
    return Spans([(0, Plan.read(run.plan).rows)]) - done_rows(run)


def assert_same(run: RunDir, calm: RunDir) -> None:
    """Each batch once, with the same bytes, none of them damaged."""
    for shard in range(3):
        assert content(run, shard) == content(calm, shard)


def work_to_the_end(run: RunDir, tasks: int, last: int = 1) -> int:
    """Submits what is left as the launcher would, until there is nothing; returns how many submissions that took."""
    number = last
    while rest := left(run):
        number += 1
        assert number < last + 10
        write_submission(run, rows=rest, number=number, tasks=tasks, workers=1, sync_interval=0.3)
        with worker_array(run, number) as array:
            for index in range(tasks):
                array.start(index)
            array.codes()
    return number - last


def wait_for(condition: Any, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def dice_pause(dice: random.Random, low: float, high: float) -> None:
    time.sleep(dice.uniform(low, high))
