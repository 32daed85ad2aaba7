"""Going on: which submissions really wait or run, as their executors say."""

from collections.abc import Sequence

from jobs.storage.rundir import RunDir
from launcher.executors import choose_executor
from launcher.runs.submissions import SubmissionState


def going_on(run: RunDir, submissions: Sequence[SubmissionState]) -> set[int]:
    """Their numbers, also of planned ones that were sbatched by hand; each executor is asked once."""
    asked = [known for known in submissions if known.outcome is None]
    active: set[int] = set()
    for name in {known.submission.executor for known in asked}:
        own = [known.submission for known in asked if known.submission.executor == name]
        active |= choose_executor(name).recover(run, own)
    return active
