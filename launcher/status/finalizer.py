"""Finalizer: who ends a run's submissions: a job of the scheduler, a `launcher run`, or nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.rundir import RunDir
from launcher.runs.attendant import find_attendant
from launcher.runs.submissions import SubmissionState


@dataclass(frozen=True)
class Finalizer:
    """``job_id`` is the scheduler's; ``attendant`` the process of a `launcher run`; neither: nobody."""

    job_id: str | None = None
    attendant: ProcessIdentity | None = None

    @property
    def is_nobody(self) -> bool:
        return self.job_id is None and self.attendant is None

    def words(self, scheduler: str, run: str) -> str:
        if self.attendant:
            return f"launcher run on {self.attendant.host}, pid {self.attendant.pid}"
        return f"{scheduler} job {self.job_id}" if self.job_id else f"nobody: type `launcher run {run}`"

    def to_json(self) -> dict[str, Any]:
        if self.attendant:
            return {"by": "launcher", "host": self.attendant.host, "pid": self.attendant.pid}
        return {"by": "job", "job_id": self.job_id} if self.job_id else {"by": "nobody"}


def find_finalizer(run: RunDir, submissions: Sequence[SubmissionState]) -> Finalizer | None:
    """Of the submissions that have not ended; None where there is none, or one has processes of its own for that."""
    own = [
        known.submission for known in submissions if known.outcome is None and not (known.is_by_hand or known.is_copied)
    ]
    if any(submission.resources.attended for submission in own):
        return Finalizer(attendant=find_attendant(run))
    job_id = next((known.submission.finalize_id for known in submissions if known.is_open), None)
    return Finalizer(job_id) if job_id else None
