"""The finalize job where it cannot go on: what it says of the run then."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.kinds import RunState
from jobs.storage.submission import Submission
from launcher.runs.submissions import Outcome
from launcher.slurm import finalize_job, sbatch
from launcher.status.reader import StatusReader
from tests.support.builders import build_run


def test_a_run_stays_complete_where_the_one_that_waits_for_it_cannot_be_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build_run(tmp_path / "run", (0, 16))
    submission = Submission.read(run.submission(1))
    resources = replace(submission.resources, config={"output": {"gather": False}})
    replace(submission, resources=resources).write(run.submission(1))
    Outcome(time.time(), failed_samples=0).write(run, 1)
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert StatusReader(run).read().state is RunState.COMPLETE

    def refuse(*_: object) -> None:
        raise sbatch.LimitReached("AssocMaxSubmitJobLimit")

    monkeypatch.setattr(finalize_job, "start_waiting", refuse)
    assert finalize_job.main([str(run.path), "1"]) == 1
    outcome = Outcome.read(run, 1)
    assert outcome is not None
    assert (outcome.error, outcome.notes) == (None, ())
    assert StatusReader(run).read().state is RunState.COMPLETE
