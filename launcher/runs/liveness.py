"""Liveness: whether an attempt that left no word of its end goes on."""

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempt
from launcher.executors import EXECUTORS
from launcher.runs.submissions import SubmissionState


def lives(attempt: Attempt, known: SubmissionState | None) -> bool:
    """Its process tells on this machine; elsewhere it goes on as long as its submission (``known``) may."""
    if attempt.is_over:
        return False
    may_go_on = known is not None and known.may_go_on
    if attempt.start is None or not attempt.start.process:
        return may_go_on
    process = ProcessIdentity.from_json(attempt.start.process)
    if not process.is_here:
        return may_go_on
    if process.is_alive:
        return True
    # Dead, and where its executor starts array tasks again, another attempt is to come. None: an executor of another
    # version, whose runs can be looked at all the same.
    executor = EXECUTORS.get(known.submission.executor) if known else None
    return may_go_on and (executor is None or executor.restarts_tasks)
