"""Sighting: what Slurm has of some submissions now."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from jobs.machine.user import user_name
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.runs.submissions import may_run
from launcher.slurm import scheduler
from launcher.slurm.parsers import JobId
from launcher.slurm.records import clusters_of, follower_of
from launcher.slurm.scheduler import QueueEntry
from launcher.slurm.scripts import finalize_name, task_names


class Sighting(NamedTuple):
    """What Slurm has of some submissions: these with the ids that were found by name, the numbers of those that it has.

    Those in ``queued`` have array tasks there, those in ``followed`` a finalize job. ``foreign``: jobs with the ids of theirs
    that seem to be others, by their names: these are no sign of them.
    """

    submissions: tuple[Submission, ...]
    active: frozenset[int]
    queued: frozenset[int]
    followed: frozenset[int]
    entries: Mapping[tuple[str, str], int]
    foreign: Mapping[JobId, str]


def look(run: RunDir, submissions: Sequence[Submission]) -> Sighting:
    """One squeue call for each cluster that may have jobs of them, read by job name, and what launchers are at."""
    owners = {s.owner or user_name() for s in submissions}
    places = {s.number: clusters_of(run, s) for s in submissions}
    clusters = {cluster for own in places.values() for cluster in own}
    entries = scheduler.queue(owners, clusters) if submissions else []
    by_name = {name: entry.job for entry in entries for name in entry.names}
    seen = [_with_ids(run, s, by_name) for s in submissions]
    foreign = {entry.job: entry.name for entry in _foreign(run, seen, entries)}
    live = {entry.job for entry in entries} - foreign.keys()
    followed = {s.number for s in seen if JobId(str(s.finalize_id), s.cluster) in live}
    queued = {s.number for s in seen if live & set(jobs_of(s))}
    active = {s.number for s in seen if s.process and may_run(run, s)} | queued | followed
    if owners - {user_name()}:
        hidden = {cluster for cluster in clusters if scheduler.hides_jobs(cluster)}  # nobody but their owner can tell
        others = (s for s in seen if (s.owner or user_name()) != user_name() and not s.planned)
        active |= {s.number for s in others if hidden & set(places[s.number])}
    own = live & {job for s in seen for job in (*jobs_of(s), JobId(str(s.finalize_id), s.cluster))}
    states = Counter((entry.state, entry.reason) for entry in entries if entry.job in own)
    return Sighting(tuple(seen), frozenset(active), frozenset(queued), frozenset(followed), states, foreign)


def _with_ids(run: RunDir, submission: Submission, by_name: Mapping[str, JobId]) -> Submission:
    """With the ids of jobs that are in the queue too: a launcher that died after sbatch has not recorded them.

    Of array tasks that are jobs of their own it has recorded all but the last one, so their places stay those of the tasks.
    """
    names = task_names(run, submission)[len(submission.job_ids) :]
    own = [by_name[name] for name in names if name in by_name]
    finalize = by_name.get(_finalize_name(run, submission))
    found = own[0] if own else finalize
    return replace(
        submission,
        job_ids=(*submission.job_ids, *(job.number for job in own)),
        finalize_id=finalize.number if finalize else submission.finalize_id,
        cluster=submission.cluster or (found.cluster if found else None),
    )


def _finalize_name(run: RunDir, submission: Submission) -> str:
    return finalize_name(run, follower_of(submission), submission.folder)


def _foreign(run: RunDir, submissions: Iterable[Submission], entries: Iterable[QueueEntry]) -> Iterator[QueueEntry]:
    """Of jobs with recorded ids, those that are called otherwise: a controller that lost its state counts from 1 again."""
    known = {job: s for s in submissions if s.folder for job in (*jobs_of(s), JobId(str(s.finalize_id), s.cluster))}
    for entry in entries:
        if (one := known.get(entry.job)) and not entry.names & {*task_names(run, one), _finalize_name(run, one)}:
            yield entry


def jobs_of(submission: Submission) -> list[JobId]:
    """The jobs that are recorded of a submission, but for the finalize job."""
    return [JobId(number, submission.cluster) for number in submission.job_ids]
