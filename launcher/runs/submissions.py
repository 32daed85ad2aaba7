"""Submissions of a run: the record of each, how it ended, and which shards are in the hands of one that goes on.

submissions/NNNN.json is written before anything starts; submissions/NNNN.outcome when all of it has ended.
"""

import dataclasses
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import RunError
from jobs.kinds import FailureKind, known
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.files import fsync_folder, write_json
from jobs.storage.plans import Submission
from jobs.storage.rundir import RunDir
from launcher.runs.failures import Failure

# An executor on another machine shows that it lives by touching its submission this often; seconds.
HEARTBEAT = 30.0
_SILENCE = 10 * HEARTBEAT


@dataclass(frozen=True)
class Outcome:
    """How a submission ended. ``failures`` are those that no journal tells, by shard; ``error``: why gather failed."""

    ended: float
    cancelled: bool = False
    failures: dict[int, Failure] = field(default_factory=dict)
    error: str | None = None

    def write(self, run: RunDir, number: int) -> None:
        write_json(run.outcome(number), dataclasses.asdict(self))

    @classmethod
    def read(cls, run: RunDir, number: int) -> "Outcome | None":
        """None while the submission goes on, and where its executor was killed."""
        try:
            data = json.loads(run.outcome(number).read_text())
        except FileNotFoundError:
            return None
        data["failures"] = {
            int(shard): Failure(**{**failure, "kind": known(FailureKind, failure["kind"])})
            for shard, failure in data["failures"].items()
        }
        return cls(**data)


@dataclass(frozen=True)
class SubmissionState:
    """A submission with what is known of its end; ``is_open`` while it may still run shards, retry or gather."""

    submission: Submission
    outcome: Outcome | None
    is_open: bool

    @property
    def number(self) -> int:
        return self.submission.number

    @property
    def is_by_hand(self) -> bool:
        """Whether it was planned for a person to submit; only the scheduler knows if that was done, and nobody ends it."""
        return self.submission.planned and self.outcome is None

    @property
    def may_go_on(self) -> bool:
        """Whether something of it may be waiting or running, as far as can be told without the scheduler."""
        return self.is_open or self.is_by_hand


def read_submissions(run: RunDir) -> list[SubmissionState]:
    """All submissions of a run, in order; asks no scheduler."""
    found = []
    for number in run.submission_numbers():
        try:
            submission, outcome = Submission.read(run.submission(number)), Outcome.read(run, number)
            found.append(SubmissionState(submission, outcome, outcome is None and may_run(run, submission)))
        except FileNotFoundError:  # withdrawn since the listing: nobody got it
            continue
    return found


def may_run(run: RunDir, submission: Submission) -> bool:
    """Whether a submission without outcome may go on, as far as this machine can tell without asking a scheduler.

    Its process is the local executor's, or the launcher's for as long as that is handing it over to a scheduler.
    """
    if submission.planned:
        return False
    if submission.process is None:
        return True
    owner = ProcessIdentity.from_json(submission.process)
    if owner.is_here:
        return owner.is_alive
    return time.time() - run.submission(submission.number).stat().st_mtime < _SILENCE


def chosen_output(submissions: Sequence[SubmissionState]) -> Path | None:
    """Where the newest submission wants the result; None: in the run directory."""
    chosen = submissions[-1].submission.resources.output if submissions else None
    return Path(chosen) if chosen else None


def newest_by_shard(submissions: Iterable[SubmissionState]) -> dict[int, SubmissionState]:
    """The last submission of each shard that has one."""
    return {shard: known for known in submissions for shard in known.submission.shards}


def in_hand(submissions: Iterable[SubmissionState]) -> dict[int, int]:
    """Shards of submissions that go on -> the submission's number."""
    return {shard: known.number for known in submissions if known.is_open for shard in known.submission.shards}


def create(run: RunDir, submission: Submission) -> Submission:
    """Writes a new submission under the next free number, whole and never over another; returns it with its number.

    Raises RunError where another one got hold of one of its shards at the same moment.
    """
    number = max(run.submission_numbers(), default=0) + 1
    numbered = dataclasses.replace(submission, number=number)
    temporary = run.submission(number).with_suffix(f".{os.getpid()}.tmp")
    numbered.write(temporary)
    try:
        # A link, since rename would replace: of two launchers that choose the same number one gets it, the other the next.
        os.link(temporary, run.submission(number))
    except FileExistsError:
        return create(run, submission)
    finally:
        temporary.unlink()
    # On disk before anything is started: after a crash there may be a record of nothing, but no tasks without a record.
    fsync_folder(run.submissions)
    # Only now, when others can see it: two that looked before they wrote could both find the shards free.
    _withdraw_if_taken(run, numbered)
    return numbered


def _withdraw_if_taken(run: RunDir, submission: Submission) -> None:
    """Of two that take the same shards at once the lower number wins: it was there when the other one looked."""
    continued = submission.resources.continues
    others = [k for k in read_submissions(run) if k.number < submission.number and k.number != continued]
    taken = in_hand(others).keys() & set(submission.shards)
    if taken:
        run.submission(submission.number).unlink()
        number = in_hand(others)[min(taken)]
        raise RunError(f"{run.path}: submission {number} is running these shards now; see `launcher status`")


def update(run: RunDir, submission: Submission, **changes: Any) -> Submission:
    """Writes the submission anew with some fields changed (its ids, once they are known)."""
    # By rename: readers see it with its ids or without. Only the process that owns the submission may write it.
    changed = dataclasses.replace(submission, **changes)
    changed.write(run.submission(changed.number))
    return changed
