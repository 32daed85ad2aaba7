"""Followers: the finalize job that ends submissions and submits what is held back; a launcher, where Slurm takes none."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.errors import InputError, RunError
from jobs.machine.user import user_name
from jobs.storage.files import write_bytes
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.runs.find import reference
from launcher.runs.submissions import Outcome, create, read_submissions, update
from launcher.slurm import sbatch, scheduler
from launcher.slurm.records import follower_of, submission_config, write_script
from launcher.slurm.scripts import finalize_name, finalize_scripts

# Slurm needs a moment to count what was cancelled as gone; seconds.
_CANCEL_SECONDS = 1.0


class Unfollowed(InputError):
    """Arrays run, and Slurm takes no job that would end their submissions: from now on `launcher run` does."""

    def __init__(self, run: RunDir, submissions: Sequence[Submission], refusal: InputError) -> None:
        arrays, name = ", ".join(job_id for one in submissions for job_id in one.job_ids), reference(run)
        super().__init__(
            f"{run.path}: Slurm job {arrays} runs, but the job that would write its result is refused:\n{refusal}\n"
            f"Now, or when {arrays} has ended: `launcher run {name}` tries again what failed and gathers the result; to stop "
            f"it: launcher cancel {name}"
        )
        self.submissions = submissions


def follow(
    run: RunDir, started: Sequence[Submission], held: Sequence[Submission], *, is_new: bool = True
) -> list[Submission]:
    """Submits the finalize job of arrays that are in Slurm, and of what is held back until they have ended.

    ``is_new``: nobody can have submitted it before. Raises Unfollowed where Slurm takes no such job.
    """
    if started[0].resources.attended:  # each is ended by itself
        return [record(run, s, s.number, process=None) for s in (*started, *held)]
    number = started[0].number
    # A launcher that was killed may have submitted some of its jobs.
    started = [replace(s, tasks=len(s.job_ids)) if s.resources.single_jobs else s for s in started]
    started = [s if s.resources.follower == number else record(run, s, number) for s in started]
    while True:
        try:
            finalize_id = _submit_finalize(run, started, is_new=is_new)
            break
        except sbatch.LimitReached as refusal:
            started, rest = _make_room(run, started)
            held = [*rest, *held]
            if not started:
                return hold_back(run, held, refusal)
        except InputError as refusal:
            raise Unfollowed(run, leave_to_launcher(run, [*started, *held]), refusal) from None
    its = {"finalize_id": finalize_id, "cluster": started[0].cluster}
    return [record(run, s, number, **its, process=None) for s in (*started, *held)]


def leave_to_launcher(run: RunDir, submissions: Iterable[Submission]) -> list[Submission]:
    """Nobody but a `launcher run` ends these from now on, or submits them."""
    attended = ((s, replace(s.resources, attended=True, follower=s.number)) for s in submissions)
    return [update(run, s, resources=resources, process=None) for s, resources in attended]


def checked(run: RunDir, submission: Submission, attached: bool) -> Submission:
    """A submission whose finalize job Slurm would take, as far as it says; else the launcher ends it, if it stays."""
    if submission.resources.attended:
        return submission
    try:
        _with_any_script(run, [submission], sbatch.test_only)
    except InputError as refusal:
        if _is_refused(run, submission):  # as is the array: sbatch says why
            return submission
        problem = f"the job that would write the result is refused: {refusal}"
        if not attached:
            raise InputError(
                f"{problem}\nNothing is submitted. Correct slurm.finalize (or slurm.partition, slurm.qos), or have `launcher "
                "run` on this machine do what that job would, `launcher gather` included: --set slurm.finalize=none"
            ) from None
        print(f"{problem}\nThis command stays, and does what that job would", file=sys.stderr, flush=True)
        return update(run, submission, resources=replace(submission.resources, attended=True))
    except RunError:  # a limit of now, or no answer: it may be there when the arrays are
        pass
    return submission


def _is_refused(run: RunDir, submission: Submission) -> bool:
    try:
        sbatch.test_only(write_script(run, submission))
    except InputError:
        return True
    return False


def _submit_finalize(run: RunDir, started: Sequence[Submission], *, is_new: bool) -> str:
    """Submits the job that follows these. Raises LimitReached or InputError where it is refused."""
    name, place = finalize_name(run, started[0].number, started[0].folder), (started[0].cluster,)
    return _with_any_script(run, started, lambda script: sbatch.submit(script, name, place, is_new=is_new).number)


def _with_any_script(run: RunDir, submissions: Sequence[Submission], act: Callable[[Path], str]) -> str:
    """What comes of the first finalize script that is not refused; of all that are, the first one's refusal is raised."""
    path, refusals = run.finalize_script(submissions[0].number), []
    for script in finalize_scripts(run, submission_config(run, submissions[0]), submissions):
        write_bytes(path, script.encode(errors="surrogateescape"))
        try:
            return act(path)
        except InputError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def record(run: RunDir, submission: Submission, follower: int, **changes: Any) -> Submission:
    """Records who ends a submission, with other changes; the jobs are this user's, whoever planned it."""
    if "job_ids" in changes:
        changes["owner"] = user_name()
    return update(run, submission, resources=replace(submission.resources, follower=follower), **changes)


def _make_room(run: RunDir, started: Sequence[Submission]) -> tuple[list[Submission], list[Submission]]:
    """Arrays took the last places that Slurm gives this user: the last element leaves its place to the finalize job.

    The others of its array do its work. Returns the arrays, and what is held back now: a submission of one element.
    """
    *others, last = started
    single = last.resources.single_jobs
    scheduler.cancel([last.job_ids[-1] if single else f"{last.job_ids[0]}_{last.tasks - 1}"], last.cluster)
    time.sleep(_CANCEL_SECONDS)
    if last.tasks > 1:
        job_ids = last.job_ids[:-1] if single else last.job_ids
        return [*others, update(run, last, tasks=last.tasks - 1, job_ids=job_ids)], []
    # Under another number, since by its name the job that was cancelled would be found.
    Outcome(time.time()).write(run, last.number)
    return others, [create(run, replace(last, job_ids=()))]


def hold_back(run: RunDir, held: Sequence[Submission], refusal: sbatch.LimitReached) -> list[Submission]:
    """For the finalize job of another submission of the run; raises the refusal where nothing else goes on."""
    if held[0].resources.attended:
        raise refusal
    numbers = {submission.number for submission in held}
    others = [known.submission for known in read_submissions(run) if not known.outcome and known.number not in numbers]
    other = next((other for other in others if other.job_ids and other.finalize_id), None)
    if other is None:
        raise refusal
    its = {"finalize_id": other.finalize_id, "cluster": other.cluster}
    return [record(run, submission, follower_of(other), **its, process=None) for submission in held]
