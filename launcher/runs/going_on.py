"""Going on: which submissions really wait or run, as their executors say."""

from collections.abc import Iterable, Sequence

from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.executors import Executor, choose_executor
from launcher.runs.submissions import SubmissionState


def going_on(run: RunDir, submissions: Sequence[SubmissionState]) -> set[int]:
    """Their numbers, also of planned ones that were sbatched by hand; each executor is asked once."""
    active: set[int] = set()
    for executor, own in open_by_executor(submissions):
        active |= executor.recover(run, own)
    return active


def open_by_executor(submissions: Iterable[SubmissionState]) -> list[tuple[Executor, list[Submission]]]:
    """Those without an outcome, with the executor that knows of them; not what works on the run that this is a copy of."""
    asked: dict[str, list[Submission]] = {}
    for known in submissions:
        if known.outcome is None and not known.is_copied:
            asked.setdefault(known.submission.executor, []).append(known.submission)
    return [(choose_executor(name), own) for name, own in asked.items()]
