"""Finalizer: who ends a run's submissions: a job of the scheduler, a `launcher run`, or nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.rundir import RunDir
from launcher.runs.attendant import find_attendant
from launcher.runs.submissions import SubmissionState

if TYPE_CHECKING:
    from launcher.documents.status import FinalizerDocument


@dataclass(frozen=True)
class Finalizer:
    """``job_id`` is the scheduler's; ``attendant`` the process of a `launcher run`; neither: nobody.

    ``has_begun``: that job shows that it is at work. Whether another one waits only the scheduler knows: it may be cancelled.
    """

    job_id: str | None = None
    attendant: ProcessIdentity | None = None
    has_begun: bool = False

    @property
    def is_nobody(self) -> bool:
        return self.job_id is None and self.attendant is None

    @property
    def is_awaited(self) -> bool:
        """Whether it is a job of which nothing is to be seen yet."""
        return self.job_id is not None and not self.has_begun

    def words(self, scheduler: str, run: str, *, is_due: bool = False) -> str:
        """``is_due``: there is nothing else to be done."""
        if self.attendant:
            return f"launcher run on {self.attendant.host}, pid {self.attendant.pid}"
        if self.job_id is None:
            return f"nobody: type `launcher run {run}`"
        job = f"{scheduler} job {self.job_id}"
        asks = f"which has not begun: `launcher status {run} --live` asks {scheduler} about it"
        return f"{job}, {asks}" if is_due and self.is_awaited else job

    def to_json(self) -> "FinalizerDocument":
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
    ids = {known.number: known.submission.finalize_id for known in submissions}
    for one in (known.submission for known in submissions if known.is_open):
        # What is still to be submitted has none of its own: the job that follows those before it sees to it.
        follower = one.number if one.resources.follower is None else one.resources.follower
        if job_id := one.finalize_id or ids.get(follower):
            return Finalizer(job_id, has_begun=run.ending(follower).exists())
    return None
