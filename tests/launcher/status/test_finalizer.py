"""Who ends a run's submissions, as its directory tells it."""

import time
from pathlib import Path

import pytest

from jobs.kinds import EndReason
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage import checked_json
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources, Submission
from launcher.runs.submissions import Outcome, update
from launcher.status.progress import status_lines
from launcher.status.reader import StatusReader
from tests.support.builders import AttemptWriter, build_plan, submit


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """All of its rows are done, by an array that a finalize job follows."""
    run = build_plan(tmp_path / "run", (0, 25, 50), batch_size=25)
    own = Submission.read(run.submission(1))
    update(run, own, executor="slurm", process=None, job_ids=("123",), finalize_id="124")
    with AttemptWriter(run, 1, 0) as writer:
        writer.commit(0, 25)
        writer.commit(25, 50)
        writer.beat(end=EndReason.DONE)
    return run


def words(run: RunDir) -> str:
    return "\n".join(status_lines(StatusReader(run).read()))


def test_a_finalize_job_of_which_nothing_is_seen_may_wait_or_be_gone_and_slurm_knows(run: RunDir) -> None:
    assert "waiting for the job that writes the result" in words(run)
    assert "finalized by: Slurm job 124, which has not begun: `launcher status " in words(run)
    run.ending(1).write_bytes(checked_json.encode(ProcessIdentity.current().to_json()))
    assert "waiting for" not in words(run)
    assert "writing the result" in words(run)
    assert "finalized by: Slurm job 124\n" in words(run)


def test_what_is_still_to_be_submitted_is_for_the_job_of_what_it_follows(run: RunDir) -> None:
    Outcome(time.time()).write(run, 1)
    submit(run, 2)
    own = Submission.read(run.submission(2))
    update(run, own, executor="slurm", process=None, resources=Resources(continues=1, follower=1))
    assert StatusReader(run).read().to_json()["finalized_by"] == {"by": "job", "job_id": "124"}
