"""JobRunner: what it gives back, and that it does so while it is at the next piece."""

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import pytest

from jobs.errors import ProcessBroken
from jobs.job import Job
from jobs.node.beacon import Beacon, Beacons
from jobs.node.border import Border
from jobs.node.messages import Loaded, Piece
from jobs.node.process.job_runner import Fetch, JobRunner, Processed
from jobs.node.transfer import Here
from jobs.node.worker.loading import failed_sample
from tests.support.launcher_runs import wait_until
from tests.support.patience import PATIENCE


class Notes:
    """Of a backend, what a runner uses."""

    failed = staticmethod(failed_sample)

    def results(self, outputs: dict[str, np.ndarray], rows: int, *, own: bool) -> dict[str, np.ndarray]:
        return {name: output[:rows].copy() if own else output[:rows] for name, output in outputs.items()}


class Gated(Job):
    """Lets go of a batch when the test says so; one of NaN it cannot take, and of one below 0 it breaks."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.begun: list[float] = []

    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        self.begun.append(float(batch[0]))
        assert self.gate.acquire(timeout=PATIENCE)
        if np.isnan(batch).any():
            raise MemoryError("too much")
        if batch[0] < 0:
            raise ExceptionGroup("requests", [ProcessBroken("the engine has died")])
        return {"y": batch}


def piece(row: int, value: float) -> Fetch:
    loaded = Loaded(Piece(row, row, row + 2), range(row, row + 2), None, ())
    return lambda: (loaded, Here(lambda: np.full(2, value)))


def unreadable() -> NoReturn:
    raise OSError("no such disk")


@pytest.fixture
def job() -> Gated:
    return Gated()


@contextmanager
def runner_of(job: Job) -> Iterator[JobRunner]:
    beacons = Beacons(1)
    notes: Any = Notes()
    beacon = Beacon(beacons.descriptor, 0)
    yield JobRunner(job, notes, beacon, Border(beacons.descriptor, beacon), 0)
    beacons.close()


@pytest.fixture
def runner(job: Gated) -> Iterator[JobRunner]:
    with runner_of(job) as runner:
        yield runner


def collected(runner: JobRunner) -> Processed:
    assert select.select([runner.descriptor], [], [], 60)[0]
    os.eventfd_read(runner.descriptor)
    found = runner.collect()
    assert found
    return found


def test_in_one_thread_a_piece_is_done_when_it_was_given(job: Gated, runner: JobRunner) -> None:
    job.gate.release()
    runner.give(piece(4, 1.0))
    assert not runner.has_room
    found = runner.collect()
    assert found
    assert found.loaded.rows == range(4, 6)
    assert found.results
    assert found.results["y"].tolist() == [1.0, 1.0]
    assert (runner.busy, runner.has_room, runner.collect()) == (0, True, None)


def test_results_are_collected_while_the_next_piece_is_at_work(job: Gated, runner: JobRunner) -> None:
    runner.leave_to_main_thread()
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    runner.give(piece(0, 1.0))
    runner.give(piece(2, 2.0))
    assert not runner.has_room
    job.gate.release()
    wait_until(lambda: job.begun == [1.0, 2.0])
    first = collected(runner)
    assert (first.results["y"][0], runner.busy, runner.has_room) == (1.0, 1, True)
    job.gate.release()
    assert collected(runner).results["y"][0] == 2.0
    runner.end()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_end_comes_after_the_piece_at_work_and_before_the_next(job: Gated, runner: JobRunner) -> None:
    runner.leave_to_main_thread()
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    runner.give(piece(0, 1.0))
    wait_until(lambda: job.begun)
    runner.give(piece(2, 2.0))
    runner.end()
    assert runner.busy == 1
    job.gate.release(2)
    thread.join(PATIENCE)
    assert job.begun == [1.0]


def test_a_broken_process_begins_no_other_piece(job: Gated, runner: JobRunner) -> None:
    runner.leave_to_main_thread()
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    runner.give(piece(0, -1.0))
    runner.give(piece(2, 2.0))
    job.gate.release(2)
    assert collected(runner).broken
    runner.give(piece(4, 4.0))
    wait_until(runner._inbox.empty)
    runner.end()
    thread.join(PATIENCE)
    assert job.begun == [-1.0]


def test_failures_are_told_and_what_cannot_be_read_is_raised(job: Gated, runner: JobRunner) -> None:
    job.gate.release(2)
    runner.give(piece(8, float("nan")))
    found = runner.collect()
    assert found
    assert found.failure
    assert (found.results, found.failure.row, found.failure.kind) == (None, 8, "OUT_OF_MEMORY")
    runner.give(unreadable)
    with pytest.raises(OSError, match="no such disk"):
        runner.collect()


class Sleeps(Job):
    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(0.02)
        return {"y": batch}


def test_a_job_that_waits_is_seen() -> None:
    with runner_of(Sleeps()) as runner:
        began = time.monotonic()
        for row in range(20):
            assert not runner.waits or time.monotonic() - began > 0.1, "that is too soon to tell"
            runner.give(piece(row, 0.0))
            runner.collect()
        assert runner.waits


class Computes(Job):
    def process(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            np.sqrt(np.arange(1000))
        return {"y": batch}


def test_a_job_that_shares_its_cpu_with_others_does_not_wait() -> None:
    before = os.sched_getaffinity(0)
    cpu = {min(before)}
    busy = f"import os; os.sched_setaffinity(0, {cpu})\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(3)]
    try:
        os.sched_setaffinity(0, cpu)
        with runner_of(Computes()) as runner:
            for row in range(20):
                runner.give(piece(row, 0.0))
                runner.collect()
    finally:
        os.sched_setaffinity(0, before)
        for other in others:
            other.kill()
            other.wait()
    assert not runner.waits
