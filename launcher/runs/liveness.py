"""Liveness: which attempts go on, of those that left no word of their end."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.attempts import Attempt
from jobs.storage.records import AttemptStart
from launcher.executors import EXECUTORS
from launcher.runs.submissions import SubmissionState

_Worker: TypeAlias = tuple[int, int, str | None]
_Began: TypeAlias = tuple[int, float]


def live_attempts(attempts: Sequence[Attempt], submissions: Mapping[int, SubmissionState]) -> frozenset[str]:
    """Their names. Submissions are by number."""
    newest: dict[_Worker, _Began] = {}
    for one in attempts:
        if one.start:
            of, began = _worker(one.submission, one.start), _began(one.start)
            newest[of] = max(began, newest.get(of, began))
    return frozenset(one.name for one in attempts if _lives(one, submissions.get(one.submission), newest))


def _worker(submission: int, start: AttemptStart) -> _Worker:
    """A worker is started again in the same job; another job (a second sbatch by hand) is another one beside it."""
    return submission, start.worker, start.job_id


def _began(start: AttemptStart) -> _Began:
    """By the scheduler's count: the time tells only where that is the same, so on one machine."""
    return start.restart, start.time


def _lives(attempt: Attempt, known: SubmissionState | None, newest: Mapping[_Worker, _Began]) -> bool:
    """Its process tells on this machine; elsewhere the newest of a worker goes on as long as its submission may."""
    if attempt.is_over or (known is not None and known.is_copied):
        return False
    start, may_go_on = attempt.start, known is not None and known.may_go_on
    if start is None:
        return may_go_on
    process = ProcessIdentity.from_json(start.process) if start.process else None
    if process is None or not process.is_here:
        # A worker is started again once it is gone.
        return may_go_on and newest[_worker(attempt.submission, start)] == _began(start)
    if process.is_alive:
        return True
    # Dead, and where its executor starts array tasks again, another attempt is to come. None: an executor of another
    # version, whose runs can be looked at all the same.
    executor = EXECUTORS.get(known.submission.executor) if known else None
    return may_go_on and (executor is None or executor.restarts_tasks)
