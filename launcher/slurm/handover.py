"""Handover: gives submissions to Slurm, an array each and one finalize job after them; what Slurm does not take is held back.

A submission's record tells how far that got, whoever was killed on the way. ``process``: the launcher that is at it.
``job_ids``: its array is in Slurm. ``resources.follower``: the number that names the finalize job which ends it, or which
submits it first, if it is held back.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from jobs.errors import InputError
from jobs.machine.process_identity import ProcessIdentity
from jobs.machine.user import user_name
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.runs.submissions import read_submissions, update
from launcher.slurm import sbatch, scheduler
from launcher.slurm.beginning import beginning
from launcher.slurm.followers import follow, hold_back, record
from launcher.slurm.limits import SlurmLimits, limits_for
from launcher.slurm.parsers import JobId
from launcher.slurm.records import clusters_of, submission_config, write_script
from launcher.slurm.scripts import asked_options, job_name, task_names

# Slurm counts each array element as a job; one place is for the finalize job, one for its successor.
_FINALIZE_JOBS = 2


def largest_wave(limits: SlurmLimits) -> int:
    """The most elements that can be in Slurm at a time, in all arrays of the run."""
    return max(1, limits.jobs - _FINALIZE_JOBS)


def hand_over(
    run: RunDir, submissions: Sequence[Submission], refused: Callable[[Submission, InputError], None] | None = None
) -> list[Submission]:
    """Submits what Slurm takes, and a finalize job after it; what it takes nothing of is held back for that job.

    Each is submitted alone: what Slurm does not take as it is, is ``refused`` (raised, where nobody is to be told), and the
    others go on. Raises sbatch.LimitReached where Slurm takes nothing at all now, and nothing else of the run goes on.
    """
    started = [submission for submission in submissions if submission.is_submitted]
    held = _throttled(run, submissions, [submission for submission in submissions if not submission.is_submitted])
    room = largest_wave(_limits(run, submissions[0])) if len(submissions) > 1 else None
    limit = sbatch.LimitReached(
        f"{run.path}: as many array tasks as slurm.array_parallelism lets run at a time are there"
    )
    while held and held[0].resources.parallelism != 0:
        if started:  # they have one finalize job
            held = [replace(submission, cluster=started[0].cluster) for submission in held]
        left = held[0].tasks if room is None else room - sum(s.tasks for s in started)
        if started and left < 1:
            break
        try:
            first = _submit_tasks(run, held[0], max(left, 1), (started or held)[0].number)
        except sbatch.LimitReached as refusal:
            limit = refusal
            break
        except InputError as refusal:
            if refused is None:
                raise
            refused(held.pop(0), refusal)
            continue
        started.append(first)
        del held[0]
    if held and not started:
        return hold_back(run, held, limit)
    return follow(run, started, held, is_new=_is_new(started[0])) if started else []


def _throttled(run: RunDir, submissions: Sequence[Submission], new: Sequence[Submission]) -> list[Submission]:
    """New submissions with how many of their array tasks may run at a time: array_parallelism is the run's, in all its arrays.

    0 for those that have to wait until others have ended, None for those that have as many as they want.
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
    return [
        replace(s, resources=replace(s.resources, parallelism=None if share == s.tasks else share))
        for s, share in zip(new, at_once, strict=True)
    ]


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


def _is_new(submission: Submission) -> bool:
    """Whether this process wrote it, so that nobody can have submitted it before."""
    return submission.process == ProcessIdentity.current().to_json()


def _submit_tasks(run: RunDir, submission: Submission, most: int, follower: int) -> Submission:
    """Submits an array of at most that many elements, of half of them, a quarter ... where Slurm does not take all.

    Fewer elements do the same work. sacctmgr does not tell all limits (those of a QOS, of an account's other users), so
    their number is found by trying. Where Slurm takes no arrays, each array task is a job.
    """
    part, tasks = submission, min(submission.tasks, most)
    while True:
        if part.tasks != tasks:  # before sbatch: whoever ends this array has to know how many elements it has
            part = update(run, part, tasks=tasks)
        try:
            if part.resources.single_jobs:
                return _submit_one_by_one(run, part, follower)
            script, name = write_script(run, part), job_name(run, part.number, part.folder)
            job = sbatch.submit(script, name, clusters_of(run, part), is_new=_is_new(submission))
            return record(run, part, follower, job_ids=(job.number,), cluster=part.cluster or _home(job))
        except sbatch.LimitReached as error:
            if tasks == 1 or part.resources.single_jobs or isinstance(error, sbatch.QueueFull):
                write_script(run, update(run, part, tasks=submission.tasks))
                raise
            tasks //= 2
        except InputError as refusal:
            if (other := _asking_for_less(run, part, refusal)) is None:
                raise
            part, tasks = other, min(tasks, other.tasks)


def _asking_for_less(run: RunDir, refused: Submission, refusal: InputError) -> Submission | None:
    """The submission without what Slurm may have refused: an array, a dependency, nodes to avoid where there are no others."""
    resources = refused.resources
    if beginning(run, refused):
        return update(run, refused, resources=replace(resources, begins_at_once=True))
    if isinstance(refusal, sbatch.NoArrays) and not resources.single_jobs:
        most = resources.parallelism or refused.tasks  # nothing else would hold it then
        return update(run, refused, resources=replace(resources, single_jobs=True), tasks=min(refused.tasks, most))
    if "exclude" in resources.options and resources.attempt > 1:
        print(f"{refusal}\ntrying again on nodes that failed before", flush=True)
        options = {name: value for name, value in resources.options.items() if name != "exclude"}
        return update(run, refused, resources=replace(resources, options=options))
    return None


def _submit_one_by_one(run: RunDir, submission: Submission, follower: int) -> Submission:
    """A job for each array task, as many as Slurm takes: the others' work is done by these.

    Each is recorded at once, in the order of their indices: when a launcher that was killed is found out some may have
    ended, and no name in the queue would tell which of them the others are.
    """
    own, first = submission, len(submission.job_ids)
    write_script(run, own)
    if own.cluster is None and clusters_of(run, own) == (None,) and (home := scheduler.federated_name()):
        own = update(run, own, cluster=home)  # arrays stay where they are submitted, single jobs do not
    for index, name in list(enumerate(task_names(run, submission)))[first:]:
        # All go where the first one is.
        script = run.script(own.number) if index > first + 1 else write_script(run, own)
        try:
            job = sbatch.submit(script, name, clusters_of(run, own), is_new=_is_new(submission), index=index)
        except (sbatch.LimitReached, InputError) as refusal:  # those that are there are not to be lost sight of
            if not own.job_ids:
                raise
            print(
                f"{refusal}\n{len(own.job_ids)} of {submission.tasks} jobs do the work of all",
                file=sys.stderr,
                flush=True,
            )
            break
        own = update(run, own, job_ids=(*own.job_ids, job.number), cluster=own.cluster or _home(job))
    return record(run, own, follower, tasks=len(own.job_ids))


def _home(job: JobId) -> str | None:
    """The cluster that has the job, where it is to be named: of a federation another one might take what follows."""
    return job.cluster or (scheduler.cluster_name() if job.is_federated else None)
