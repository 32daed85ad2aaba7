"""Excerpts: of a log, the lines about a cause, and not those about another one."""

import time
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind, SampleFailureKind
from jobs.storage.rundir import RunDir
from jobs.storage.sample_failures import SampleFailures
from jobs.storage.spans import Spans
from launcher.report.excerpts import excerpt
from launcher.runs.history import read_histories
from launcher.runs.submissions import Outcome
from launcher.status.reader import StatusReader
from tests.support.builders import AttemptWriter, build_plan

LOG = """\
2026-11-29 09:07:44 task samples 0 to 9: 10 to do
2026-11-29 09:07:46 p0.w1 sample 2 failed (LOAD):
2026-11-29 09:07:46 p0.w1 Traceback (most recent call last):
2026-11-29 09:07:46 p0.w1   File "my_job.py", line 36, in load
2026-11-29 09:07:46 p0.w1 ValueError: bad sample
2026-11-29 09:07:47 task pool worker 1 died of signal 11 at sample 7; starting another
2026-11-29 09:07:48 task sample 7 failed (CRASH): the pool worker died of signal 11
2026-11-29 09:07:49 task attempt 0001-00000 is failed: OUT_OF_MEMORY: too much
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = build_plan(tmp_path / "run", (0, 10))
    told = [("LOAD", "ValueError: bad sample"), ("CRASH", "the pool worker died of signal 11")]
    failures = tuple(SampleFailures(SampleFailureKind(kind), text, 1, Spans([(0, 1)])) for kind, text in told)
    writer = AttemptWriter(run)
    writer.hold(0, 10)
    writer.commit(0, 8, bad=[2, 7])
    writer.end(EndReason.FAILED, FailureKind.OUT_OF_MEMORY, "too much", failures=failures, log=len(LOG))
    Outcome(time.time()).write(run, 1)
    run.log(1, 0).write_text(f"{LOG}what a later attempt wrote\n")
    return run


@pytest.mark.parametrize(
    ("kind", "lines"), [("LOAD", slice(1, 5)), ("CRASH", slice(3, 7)), ("OUT_OF_MEMORY", slice(2, 8))]
)
def test_a_cause_has_its_own_lines(run: RunDir, kind: str, lines: slice) -> None:
    status = StatusReader(run).read()
    group = next(group for group in status.groups if group.kind == kind)
    found = excerpt(run, group, read_histories(status.shards.attempts))
    assert found == (run.log(1, 0), "\n".join(LOG.splitlines()[lines]))
    run.log(1, 0).unlink()
    assert excerpt(run, group, read_histories(status.shards.attempts)) is None
