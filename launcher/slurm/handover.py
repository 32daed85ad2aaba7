"""Handover: gives submissions to Slurm, an array each and one finalize job after them; what Slurm does not take is held back.

A submission's record tells how far that got, whoever was killed on the way. ``process``: the launcher that is at it.
``job_ids``: its array is in Slurm. ``resources.follower``: the number that names the finalize job which ends it, or which
submits it first, if it is held back.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.files import write_bytes
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from launcher.runs.submissions import Outcome, create, read_submissions, update
from launcher.slurm import scheduler
from launcher.slurm.scripts import array_script, finalize_name, finalize_script, job_name

if TYPE_CHECKING:
    from launcher.config.config import Config

# Slurm counts each array element as a job; one place is for the finalize job, one for its successor.
_FINALIZE_JOBS = 2
# Slurm needs a moment to count what was cancelled as gone; seconds.
_CANCEL_SECONDS = 1.0


def submission_config(run: RunDir, submission: Submission) -> "Config":
    """The config that a submission was made with."""
    from launcher.config.config import config_from_mapping
    from launcher.plan.guard import config_path

    plan = Plan.read(run.plan)
    return config_from_mapping(submission.resources.config or plan.config, config_path(plan))


def write_script(run: RunDir, submission: Submission) -> Path:
    """Writes the script of a submission's array, ready for sbatch."""
    path = run.script(submission.number)
    write_bytes(path, array_script(run, submission_config(run, submission), submission).encode())
    return path


def follower_of(submission: Submission) -> int:
    """The number that names the finalize job of a submission."""
    return submission.number if submission.resources.follower is None else submission.resources.follower


def largest_wave(limits: scheduler.SlurmLimits) -> int:
    """The most elements that can be in Slurm at a time, in all arrays of the run."""
    return max(1, limits.jobs - _FINALIZE_JOBS)


def hand_over(run: RunDir, submissions: Sequence[Submission]) -> list[Submission]:
    """Submits what Slurm takes, and a finalize job after it; the rest is held back for that job.

    Raises scheduler.LimitReached where Slurm takes nothing at all now, and nothing else of the run goes on.
    """
    started = [submission for submission in submissions if submission.job_ids]
    held = [submission for submission in submissions if not submission.job_ids]
    room = largest_wave(scheduler.limits()) if len(submissions) > 1 else None
    while held:
        if room is not None and started and sum(len(s.groups) for s in (*started, held[0])) > room:
            break
        other = None if started else _another(run, submissions)
        try:
            number = started[0].number if started else held[0].number
            first, rest = _submit_array(run, held[0], number, shrinks=not started and not other)
        except scheduler.LimitReached:
            if other:
                number, finalize_id = follower_of(other), other.finalize_id
                return [_record(run, s, number, finalize_id=finalize_id, process=None) for s in held]
            if not started:
                raise
            break
        started.append(first)
        held[:1] = rest
        if rest:
            break
    return follow(run, started, held, is_new=_is_new(started[0]))


def _another(run: RunDir, submissions: Sequence[Submission]) -> Submission | None:
    """A submission of the run, other than these, with a finalize job to come."""
    numbers = {submission.number for submission in submissions}
    others = [known.submission for known in read_submissions(run) if not known.outcome and known.number not in numbers]
    return next((other for other in others if other.job_ids and other.finalize_id), None)


def _is_new(submission: Submission) -> bool:
    """Whether this process wrote it, so that nobody can have submitted it before."""
    return submission.process == ProcessIdentity.current().to_json()


def _submit_array(
    run: RunDir, submission: Submission, follower: int, *, shrinks: bool
) -> tuple[Submission, list[Submission]]:
    """Submits an array; ``shrinks``: half of it, a quarter ... where Slurm does not take all. Returns what is left, too.

    sacctmgr does not tell all limits (those of a QOS, of an account's other users), so the size is found by trying.
    """
    groups, size = submission.groups, len(submission.groups)
    while True:
        part = replace(submission, groups=groups[:size])
        try:
            job_id = scheduler.submit(write_script(run, part), job_name(run, part.number), is_new=_is_new(submission))
            break
        except scheduler.LimitReached as error:
            if not shrinks or size == 1 or isinstance(error, scheduler.QueueFull):
                write_script(run, submission)
                raise
            size //= 2
    started = _record(run, part, follower, job_ids=(job_id,))
    rest = [create(run, replace(submission, groups=groups[size:]))] if size < len(groups) else []
    return started, rest


def follow(
    run: RunDir, started: Sequence[Submission], held: Sequence[Submission], *, is_new: bool = True
) -> list[Submission]:
    """Submits the finalize job of arrays that are in Slurm, and of what is held back until they have ended.

    ``is_new``: nobody can have submitted it before.
    """
    number = started[0].number
    started = [s if s.resources.follower == number else _record(run, s, number) for s in started]
    path = run.finalize_script(number)
    while True:
        numbers, job_ids = [s.number for s in started], [job_id for s in started for job_id in s.job_ids]
        write_bytes(path, finalize_script(run, submission_config(run, started[0]), numbers, job_ids).encode())
        try:
            finalize_id = scheduler.submit(path, finalize_name(run, number), is_new=is_new)
            break
        except scheduler.LimitReached:
            started, rest = _make_room(run, started)
            held = [*rest, *held]
    return [_record(run, s, number, finalize_id=finalize_id, process=None) for s in (*started, *held)]


def _record(run: RunDir, submission: Submission, follower: int, **changes: Any) -> Submission:
    return update(run, submission, resources=replace(submission.resources, follower=follower), **changes)


def _make_room(run: RunDir, started: Sequence[Submission]) -> tuple[list[Submission], list[Submission]]:
    """Arrays took the last places that Slurm gives this user: the last element leaves its place to the finalize job.

    Returns the arrays, and what is held back now. Raises scheduler.LimitReached where there is only one element.
    """
    *others, last = started
    size = len(last.groups)
    scheduler.cancel([f"{last.job_ids[0]}_{size - 1}"])
    time.sleep(_CANCEL_SECONDS)
    if size == 1 and not others:
        raise scheduler.LimitReached(
            f"{run.path}: Slurm takes one job of yours now; an array task and its finalize job are two"
        )
    if size == 1:
        Outcome(time.time()).write(run, last.number)
    else:
        others.append(update(run, last, groups=last.groups[:-1]))
    return others, [create(run, replace(last, groups=last.groups[-1:], job_ids=()))]
