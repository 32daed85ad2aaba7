"""The backends of a crew: the run directory, and the memory shared with the caller of jobs.Hierarchy."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import SampleFailed
from jobs.library.answers import results
from jobs.library.caller_backend import CallerBackend
from jobs.library.exchange import Exchange
from jobs.node.messages import Allocate, Allocated
from jobs.node.process.run_backend import RunBackend
from jobs.node.supervisor.attempt import AttemptLog
from jobs.pickles import pack
from jobs.storage.blocks import BlockReader
from jobs.storage.plans import Plan
from jobs.storage.records import Commit
from jobs.storage.submission import Submission
from tests.jobs.node.backend_tests import JOB, ROWS, SIZE, BackendTests, World
from tests.support.task_runs import layout_of, make_run


class RunWorld(World):
    """A planned run, and an attempt at it by this process."""

    def __init__(self, folder: Path) -> None:
        self.run = make_run(folder, JOB.__name__, ROWS, batch_size=SIZE)
        plan = Plan.read(self.run.plan)
        self.attempt = AttemptLog(self.run, plan, Submission.read(self.run.submission(1)), "0001-00000-a")
        self.attempt.begin(0, 0, ("cpu",), {})
        self.backend = RunBackend(self.run, plan.job, plan.rows, self.attempt.name)

    def ask(self, request: Allocate) -> Allocated:
        return self.attempt.allocate(request)

    def stored(self, commit: Commit) -> dict[int, Any]:
        failed = {sample.row for sample in commit.failed}
        if not commit.blocks:
            assert failed == set(range(commit.start, commit.stop))
            return {}
        (output,) = layout_of(self.run).outputs
        with BlockReader({0: self.run.data(self.attempt.name, 0)}) as files:
            assert files.damaged(commit.blocks) == []
            values = np.frombuffer(files.read(commit.blocks[0]), output.dtype).reshape(-1, *output.shape)
        rows = zip(range(commit.start, commit.stop), values.tolist(), strict=True)
        return {row: value for row, value in rows if row not in failed}


class CallerWorld(World):
    """An exchange whose caller is this process, with a slot for each batch."""

    def __init__(self) -> None:
        self.exchange = Exchange.create(2)
        size = self.exchange.put_job(pack(JOB()))
        for slot, start in enumerate(range(0, ROWS, SIZE)):
            samples = [{"x": row} for row in range(start, start + SIZE)]
            self.exchange.feed(slot, start, SIZE, pack(samples))
        self.backend = CallerBackend(os.getpid(), self.exchange.descriptor, self.exchange.slots, size)

    def ask(self, request: Allocate) -> Allocated:
        raise AssertionError("results of a caller need no place in a file")

    def stored(self, commit: Commit) -> dict[int, Any]:
        slot, start = self.exchange.slot_of(commit.start)
        answer, _ = self.exchange.results(slot)
        found = enumerate(results(answer, 0, start, SIZE, alone=False)[0], start)
        return {row: one["y"].tolist() for row, one in found if not isinstance(one, SampleFailed)}


class TestRunBackend(BackendTests):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[RunWorld]:
        made = RunWorld(tmp_path / "run")
        yield made
        made.attempt.close()


class TestCallerBackend(BackendTests):
    @pytest.fixture
    def world(self) -> Iterator[CallerWorld]:
        made = CallerWorld()
        yield made
        made.exchange.close()
