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
from jobs.library.pickles import pack
from jobs.node.messages import Allocate, Allocated
from jobs.node.process.run_backend import RunBackend
from jobs.node.supervisor.shard_run import ShardRun
from jobs.storage.plans import Plan, Submission
from jobs.storage.records import Commit
from jobs.storage.shard_file import ShardFile
from tests.jobs.node.backend_tests import JOB, ROWS, SIZE, BackendTests, World
from tests.support.task_runs import make_run


class RunWorld(World):
    """A planned run, its shard being run by this process."""

    def __init__(self, folder: Path) -> None:
        self.run = make_run(folder, JOB.__name__, ROWS, batch_size=SIZE)
        self.plan = Plan.read(self.run.plan)
        self.backend = RunBackend(self.run, self.plan.job)
        self.attempt = ShardRun(self.run, self.plan, Submission.read(self.run.submission(1)), self.plan.shard(0))
        self.attempt.begin(("cpu",), {})

    def ask(self, request: Allocate) -> Allocated:
        return self.attempt.allocate(request)

    def stored(self, commit: Commit) -> dict[int, Any]:
        failed = {sample.row for sample in commit.failed}
        if not commit.hashes:
            assert failed == set(range(commit.start, commit.stop))
            return {}
        assert self.attempt.layout
        (output,) = self.attempt.layout.outputs
        with ShardFile.open(self.run, self.plan.shard(0), self.attempt.layout) as file:
            assert file.damaged(commit) == []
            values = np.frombuffer(file.read_rows(output, commit.start, commit.stop)).reshape(-1, 2)
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
        found = enumerate(results(answer, 0, start, SIZE), start)
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
