"""Liveness: which attempts go on, of those that left no word of their end."""

from collections.abc import Mapping, Sequence

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempt
from launcher.executors import EXECUTORS
from launcher.runs.submissions import SubmissionState


def live_attempts(attempts: Sequence[Attempt], submissions: Mapping[int, SubmissionState]) -> frozenset[str]:
    """Their names. Submissions are by number."""
    newest: dict[tuple[int, int], tuple[int, float]] = {}
    for one in attempts:
        if one.start:
            of, began = (one.submission, one.start.worker), (one.start.restart, one.start.time)
            newest[of] = max(began, newest.get(of, began))
    return frozenset(one.name for one in attempts if _lives(one, submissions.get(one.submission), newest))


def _lives(
    attempt: Attempt, known: SubmissionState | None, newest: Mapping[tuple[int, int], tuple[int, float]]
) -> bool:
    """Its process tells on this machine; elsewhere the newest of a worker goes on as long as its submission may."""
    if attempt.is_over:
        return False
    start, may_go_on = attempt.start, known is not None and known.may_go_on
    if start is None:
        return may_go_on
    process = ProcessIdentity.from_json(start.process) if start.process else None
    if process is None or not process.is_here:
        # A worker is started again once it is gone.
        return may_go_on and newest[attempt.submission, start.worker] == (start.restart, start.time)
    if process.is_alive:
        return True
    # Dead, and where its executor starts array tasks again, another attempt is to come. None: an executor of another
    # version, whose runs can be looked at all the same.
    executor = EXECUTORS.get(known.submission.executor) if known else None
    return may_go_on and (executor is None or executor.restarts_tasks)
