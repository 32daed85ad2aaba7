"""Handover: gives submissions to Slurm, an array each and one finalize job after them; what Slurm does not take is held back.

A submission's record tells how far that got, whoever was killed on the way. ``process``: the launcher that is at it.
``job_ids``: its array is in Slurm. ``resources.follower``: the number that names the finalize job which ends it, or which
submits it first, if it is held back.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import InputError
from jobs.machine.process_identity import ProcessIdentity
from jobs.machine.user import user_name
from jobs.storage.files import write_bytes
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from launcher.runs.submissions import Outcome, create, read_submissions, update
from launcher.slurm import scheduler
from launcher.slurm.limits import SlurmLimits, limits_for
from launcher.slurm.parsers import JobId
from launcher.slurm.scripts import array_script, asked_clusters, asked_options, finalize_name, finalize_script, job_name

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
    asked = submission.resources
    return config_from_mapping(asked.config or plan.config, config_path(plan), profiles=asked.profiles)


def write_script(run: RunDir, submission: Submission) -> Path:
    """Writes the script of a submission's array, ready for sbatch."""
    path = run.script(submission.number)
    write_bytes(
        path, array_script(run, submission_config(run, submission), submission).encode(errors="surrogateescape")
    )
    return path


def follower_of(submission: Submission) -> int:
    """The number that names the finalize job of a submission."""
    return submission.number if submission.resources.follower is None else submission.resources.follower


def clusters_of(run: RunDir, submission: Submission) -> tuple[str | None, ...]:
    """Where the jobs of a submission are, or may be for as long as it is not recorded; None for one's own cluster."""
    return (
        (submission.cluster,)
        if submission.cluster or submission.job_ids
        else asked_clusters(run.script(submission.number))
    )


def largest_wave(limits: SlurmLimits) -> int:
    """The most elements that can be in Slurm at a time, in all arrays of the run."""
    return max(1, limits.jobs - _FINALIZE_JOBS)


def hand_over(run: RunDir, submissions: Sequence[Submission]) -> list[Submission]:
    """Submits what Slurm takes, and a finalize job after it; what it takes nothing of is held back for that job.

    Raises scheduler.LimitReached where Slurm takes nothing at all now, and nothing else of the run goes on.
    """
    started = [submission for submission in submissions if submission.job_ids]
    held = _throttled(run, submissions, [submission for submission in submissions if not submission.job_ids])
    room = largest_wave(_limits(run, submissions[0])) if len(submissions) > 1 else None
    refusal = scheduler.LimitReached(
        f"{run.path}: as many array tasks as slurm.array_parallelism lets run at a time are there"
    )
    while held and held[0].resources.parallelism:
        if started:  # they have one finalize job
            held = [replace(submission, cluster=started[0].cluster) for submission in held]
        left = held[0].tasks if room is None else room - sum(s.tasks for s in started)
        if started and left < 1:
            break
        try:
            first = _submit_array(run, held[0], max(left, 1), (started or held)[0].number)
        except scheduler.LimitReached as limit:
            refusal = limit
            break
        started.append(first)
        del held[0]
    return follow(run, started, held, is_new=_is_new(started[0])) if started else _hold_back(run, held, refusal)


def _throttled(run: RunDir, submissions: Sequence[Submission], new: Sequence[Submission]) -> list[Submission]:
    """New submissions with how many of their array tasks may run at a time: array_parallelism is the run's, in all its arrays.

    0 for those that have to wait until others have ended.
    """
    if not new:
        return []
    most = submission_config(run, new[-1]).slurm.array_parallelism
    numbers = {submission.number for submission in new}
    is_alone = numbers >= set(run.submission_numbers())  # as most are: then no record is read again
    open_ones = [] if is_alone else [known.submission for known in read_submissions(run) if not known.outcome]
    others = [other for other in open_ones if other.number not in numbers]
    free = most - sum(_running_at_most(run, [other for other in others if other.job_ids], most))
    at_once = shares([submission.tasks for submission in new], max(free, 0))
    return [replace(s, resources=replace(s.resources, parallelism=n)) for s, n in zip(new, at_once, strict=True)]


def _running_at_most(run: RunDir, submissions: Sequence[Submission], most: int) -> list[int]:
    """How many array tasks of each of these may run at a time, as the queue has them now."""
    if not submissions:
        return []
    entries = scheduler.queue({s.owner or user_name() for s in submissions}, {s.cluster for s in submissions})
    living = Counter[JobId]()
    for entry in entries:
        living[entry.job] += entry.elements
    return [
        min(submission.resources.parallelism or most, living[JobId(job_id, submission.cluster)])
        for submission in submissions
        for job_id in submission.job_ids
    ]


def shares(wanted: Sequence[int], most: int) -> list[int]:
    """``most`` shared out evenly, to each as much as it wants at most; where there is too little for all, to the first ones."""
    found, left = [0] * len(wanted), most
    served = sorted(range(min(most, len(wanted))), key=wanted.__getitem__)
    for place, number in enumerate(served):
        found[number] = min(wanted[number], left // (len(served) - place))
        left -= found[number]
    return found


def _limits(run: RunDir, submission: Submission) -> SlurmLimits:
    return limits_for(asked_options(submission_config(run, submission), submission.resources))


def _hold_back(run: RunDir, held: Sequence[Submission], refusal: scheduler.LimitReached) -> list[Submission]:
    """For the finalize job of another submission of the run; raises the refusal where nothing else goes on."""
    numbers = {submission.number for submission in held}
    others = [known.submission for known in read_submissions(run) if not known.outcome and known.number not in numbers]
    other = next((other for other in others if other.job_ids and other.finalize_id), None)
    if other is None:
        raise refusal
    its = {"finalize_id": other.finalize_id, "cluster": other.cluster}
    return [_record(run, submission, follower_of(other), **its, process=None) for submission in held]


def _is_new(submission: Submission) -> bool:
    """Whether this process wrote it, so that nobody can have submitted it before."""
    return submission.process == ProcessIdentity.current().to_json()


def _submit_array(run: RunDir, submission: Submission, most: int, follower: int) -> Submission:
    """Submits an array of at most that many elements, of half of them, a quarter ... where Slurm does not take all.

    Fewer elements do the same work. sacctmgr does not tell all limits (those of a QOS, of an account's other users), so
    their number is found by trying.
    """
    part, tasks = submission, min(submission.tasks, most)
    while True:
        if part.tasks != tasks:  # before sbatch: whoever ends this array has to know how many elements it has
            part = update(run, submission, tasks=tasks)
        try:
            script, name = write_script(run, part), job_name(run, part.number)
            job = scheduler.submit(script, name, clusters_of(run, part), is_new=_is_new(submission))
            return _record(run, part, follower, job_ids=(job.number,), cluster=part.cluster or _home(job))
        except scheduler.LimitReached as error:
            if tasks == 1 or isinstance(error, scheduler.QueueFull):
                write_script(run, update(run, submission))
                raise
            tasks //= 2


def _home(job: JobId) -> str | None:
    """The cluster that has the job, where it is to be named: of a federation another one might take what follows."""
    return job.cluster or (scheduler.cluster_name() if job.is_federated else None)


def follow(
    run: RunDir, started: Sequence[Submission], held: Sequence[Submission], *, is_new: bool = True
) -> list[Submission]:
    """Submits the finalize job of arrays that are in Slurm, and of what is held back until they have ended.

    ``is_new``: nobody can have submitted it before.
    """
    number = started[0].number
    started = [s if s.resources.follower == number else _record(run, s, number) for s in started]
    while True:
        try:
            finalize_id = _submit_finalize(run, started, is_new=is_new)
            break
        except scheduler.LimitReached as refusal:
            started, rest = _make_room(run, started)
            held = [*rest, *held]
            if not started:
                return _hold_back(run, held, refusal)
        except InputError:  # this launcher has done all that it can
            for submission in (*started, *held):
                _record(run, submission, number, process=None)
            raise
    its = {"finalize_id": finalize_id, "cluster": started[0].cluster}
    return [_record(run, s, number, **its, process=None) for s in (*started, *held)]


def _submit_finalize(run: RunDir, started: Sequence[Submission], *, is_new: bool) -> str:
    """Submits the job that follows these. Raises LimitReached, or InputError that tells what runs without it."""
    number = started[0].number
    config, path = submission_config(run, started[0]), run.finalize_script(number)
    refusals = []
    for asks_memory in (True, False):  # nodes without RealMemory have none to ask for: slurm.conf(5)
        script = finalize_script(run, config, started, asks_memory=asks_memory)
        write_bytes(path, script.encode(errors="surrogateescape"))
        try:
            return scheduler.submit(path, finalize_name(run, number), (started[0].cluster,), is_new=is_new).number
        except InputError as refusal:
            refusals.append(refusal)
    arrays = ", ".join(job_id for submission in started for job_id in submission.job_ids)
    raise InputError(
        f"{run.path}: Slurm job {arrays} runs, but the job that would write its result is refused:\n{refusals[0]}\n"
        f"When {arrays} has ended: launcher gather {run.name} (and launcher rerun {run.name}, if shards have failed); "
        f"to stop it: launcher cancel {run.name}"
    )


def _record(run: RunDir, submission: Submission, follower: int, **changes: Any) -> Submission:
    return update(run, submission, resources=replace(submission.resources, follower=follower), **changes)


def _make_room(run: RunDir, started: Sequence[Submission]) -> tuple[list[Submission], list[Submission]]:
    """Arrays took the last places that Slurm gives this user: the last element leaves its place to the finalize job.

    The others of its array do its work. Returns the arrays, and what is held back now: a submission of one element.
    """
    *others, last = started
    scheduler.cancel([f"{last.job_ids[0]}_{last.tasks - 1}"], last.cluster)
    time.sleep(_CANCEL_SECONDS)
    if last.tasks > 1:
        return [*others, update(run, last, tasks=last.tasks - 1)], []
    # Under another number, since by its name the job that was cancelled would be found.
    Outcome(time.time()).write(run, last.number)
    return others, [create(run, replace(last, job_ids=()))]
