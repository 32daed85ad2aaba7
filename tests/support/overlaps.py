"""Two runs that overlap, as their files tell of them: nothing is computed, and no time passes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.kinds import EndReason
from jobs.node.supervisor import inflow
from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.upstreams import Upstream, plan_seal
from launcher.runs.submissions import Outcome
from tests.support.builders import AttemptWriter, build_plan, change_plan

PARTS = (Part("train", 0, 24), Part("test", 24, 64))
ROWS = 64
BATCH = 4


class Clock:
    """Goes on only when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def reading_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However loaded the machine is, the next look at the other run comes when it is due."""
    monkeypatch.setattr(inflow, "time", SimpleNamespace(monotonic=lambda: 0.0))


def build_upstream(folder: Path, **plan: Any) -> RunDir:
    """A run of 64 rows in two shards, with a submission of all that goes on; ``plan`` holds fields that its plan has."""
    run = build_plan(folder / "first", (0, 24, ROWS), batch_size=BATCH, tasks=2)
    change_plan(run, **plan)
    return run


def upstream_of(run: RunDir, manifest: str | None = None, **fields: Any) -> Upstream:
    """As the plan of a run has it that takes its samples while it goes on."""
    plan = Plan.read(run.plan)
    seal = plan_seal(plan, next(part for part in plan.results if part.name == manifest))
    known = Upstream(str(run.path), manifest, ("label",), keeps_failed=True, seal=seal, overlaps=True)
    return replace(known, **fields)


def build_downstream(
    folder: Path, upstream: Upstream, rows: int = ROWS, *, batch_size: int = BATCH, tasks: int = 1
) -> RunDir:
    """A run of the other one's rows, in one shard, with a submission of all of them."""
    run = build_plan(folder / "second", (0, rows), batch_size=batch_size, tasks=tasks)
    manifest = {"fingerprint": "", "upstream": upstream.to_json()}
    change_plan(run, manifest=manifest, after=(upstream.run,))
    return run


def do(run: RunDir, rows: str, submission: int = 1, worker: int = 0, *, bad: str = "", **beat: Any) -> AttemptWriter:
    """An attempt that has done these rows, whole batches; ``beat`` holds fields of its beat. It goes on."""
    writer = AttemptWriter(run, submission, worker)
    writer.commit_all(Spans.parse(rows), bad=Spans.parse(bad).numbers)
    writer.beat(**beat)
    return writer


def take(run: RunDir, rows: str, submission: int = 1, worker: int = 0, *, of: int = 1, **beat: Any) -> None:
    """The same of one that is done with rows that it took from what a submission of the other run had done."""
    writer = do(run, rows, submission, worker, taken={of: Spans.parse(rows)}, **{"end": EndReason.DONE, **beat})
    writer.close()


def end_submission(run: RunDir, number: int = 1) -> None:
    Outcome(0.0).write(run, number)


def taken(run: RunDir, number: int) -> Spans:
    """What all attempts of a run say that they took from a submission of the other one."""
    return union(attempt.beat.taken.get(number, Spans()) for attempt in Attempts(run).read())
