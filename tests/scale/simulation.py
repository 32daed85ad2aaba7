"""Simulation: a run of very many shards and array tasks, from plan to result, on the real code, with real files.

Only array tasks are no processes: what they write is written here, by the classes that they write it with. Some are killed
before their last shard, as some always are. The scheduler is one in memory, which starts nothing.
"""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from jobs.node.supervisor.claimer import Claimer
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Range, Spans, union
from jobs.storage.submission import Submission
from launcher.cli import main
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from tests.scale.observed import Observed, observed
from tests.support.builders import AttemptWriter
from tests.support.launcher_runs import run_of, wait_until, write_config
from tests.support.memory_executor import MemoryScheduler

SHARD = 2
"""Rows of a shard, one batch."""
_KILLED = 137


def values(rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the Job gives back."""
    return {"half": rows / 2}


@dataclass
class Simulation:
    """``observed`` and ``statuses`` are those of its steps, by name; ``questions``: how often each asked the scheduler."""

    folder: Path
    shards: int
    elements: int
    scheduler: MemoryScheduler
    observed: dict[str, Observed] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    questions: dict[str, int] = field(default_factory=dict)
    killed: frozenset[int] = frozenset()

    @cached_property
    def config(self) -> Path:
        rows = self.shards * SHARD
        node = {"batch_size": SHARD, "max_failed_samples": 1.0}
        return write_config(self.folder, rows, shards=self.shards, executor="memory", node=node)

    @property
    def run(self) -> RunDir:
        return run_of(self.config)

    @cached_property
    def plan(self) -> Plan:
        return Plan.read(self.run.plan)

    def command(self, *arguments: object) -> None:
        """A command of the launcher, in this process."""
        step, before = str(arguments[0]), self.scheduler.questions
        with observed(self.run.path.parent) as self.observed[step], redirect_stdout(io.StringIO()):
            assert main([*map(str, arguments)]) == 0
        self.questions[step] = self.scheduler.questions - before

    def look(self, step: str, reader: StatusReader) -> None:
        with observed(self.run.path) as self.observed[step]:
            self.statuses[step] = reader.read()
            self.statuses[step].to_json()

    # --- the array tasks

    def work(self, number: int, *, killed: frozenset[int] = frozenset()) -> list[AttemptWriter]:
        """Each array task of a submission does all that it begins with, and goes on; those killed lack their last shard."""
        submission = Submission.read(self.run.submission(number))
        claims = ClaimFolder(self.run.claims(number))
        writers = []
        for worker, rows in enumerate(submission.ranges):
            writer = AttemptWriter(self.run, number, worker, name=f"{number:04d}-{worker:05d}-{worker:08x}")
            assert claims.take(Claim(worker, 1, writer.name, *rows))
            writer.hold(*rows, worker)
            mine = Spans([rows]) & submission.work(self.plan.table)
            if worker in killed:
                mine = mine - Spans([self.last_shard(rows)])
            writer.commit_all(mine, values, bad=self.failing(rows))
            writer.beat()
            writers.append(writer)
        return writers

    @staticmethod
    def last_shard(rows: Range) -> Range:
        return rows[1] - SHARD, rows[1]

    @staticmethod
    def failing(rows: Range) -> list[int]:
        """The sample that fails of those of a range: its first."""
        return [rows[0]]

    def idle(self, step: str) -> None:
        """One that starts once all others have all there is: what it looks at to find something to do."""
        submission = Submission.read(self.run.submission(1))
        claimer = Claimer(self.run, self.plan, submission, 0, "0001-00000-ffffffff")
        with observed(self.run.path) as self.observed[step]:
            claimer.next(0.0, 0.0)

    def leave(
        self, step: str, writers: list[AttemptWriter], then: set[int], killed: frozenset[int] = frozenset()
    ) -> None:
        """The array has ended, and the finalize job does what there is to do; ``then`` are the submissions that go on."""
        for worker, writer in enumerate(writers):
            if worker in killed:
                writer.close()
            else:
                writer.end()
        before = self.scheduler.questions
        with observed(self.run.path) as self.observed[step]:
            self.scheduler.end(dict.fromkeys(killed, _KILLED))
            wait_until(lambda: self.scheduler.numbers == then)
        self.questions[step] = self.scheduler.questions - before

    def lost(self) -> Spans:
        """The rows that those who were killed left."""
        ranges = Submission.read(self.run.submission(1)).ranges
        return union(Spans([self.last_shard(ranges[worker])]) for worker in self.killed)


def simulate(simulation: Simulation) -> Simulation:
    """From plan to result."""
    one = simulation
    one.scheduler.slots = 0
    one.scheduler.largest_array = one.elements
    one.killed = frozenset(range(3, one.elements, 10))
    one.command("plan", one.config)
    one.command("submit", one.config)
    first = one.work(1, killed=one.killed)
    one.idle("idle")
    reader = StatusReader(one.run)
    one.look("first look", reader)
    one.look("again", reader)
    one.leave("heal", first, {2}, one.killed)
    one.look("healing", StatusReader(one.run))
    one.leave("end", one.work(2), set())
    one.look("complete", StatusReader(one.run))
    one.command("status", one.run.path)
    one.command("list", one.run.path.parent)
    one.command("verify", one.run.path)
    return one
