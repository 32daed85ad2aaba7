"""The Slurm executor: a submission's array tasks as one job array, followed by a finalize job that needs no login node.

A submission is written before sbatch and found again by its job name, so a launcher that dies in between, or an sbatch that
times out, leaves nothing behind that would be submitted twice. Where Slurm takes only some of the elements of an array,
these do all its work. Submissions of which it takes none yet are held back: they have no Slurm job id, and the finalize
job of those before them submits them.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobs.errors import InputError, RunError
from jobs.kinds import AnyFailureKind
from jobs.machine.user import user_name
from jobs.storage.plans import Resources, Submission
from jobs.storage.rundir import RunDir
from launcher.executors import Executor, Finding, Limits, Observation, Scripts
from launcher.runs.submissions import may_run, update
from launcher.slurm import scheduler
from launcher.slurm.associations import too_much
from launcher.slurm.capacity import tasks_at_once
from launcher.slurm.environment import from_environment
from launcher.slurm.handover import clusters_of, follow, follower_of, hand_over, largest_wave, write_script
from launcher.slurm.limits import (
    DEFAULT_ARRAY_SIZE,
    DEFAULT_JOB_COUNT,
    SlurmLimits,
    ask_ahead,
    default_time,
    limits_for,
    nodes,
)
from launcher.slurm.parsers import JobId, amount
from launcher.slurm.reasons import queue_advice
from launcher.slurm.scripts import Options, asked_options, finalize_name, job_name, task_size
from launcher.units import format_time, parse_memory, parse_time

if TYPE_CHECKING:
    from launcher.config.config import Config


class _Seen(NamedTuple):
    """What Slurm has of some submissions: these with the ids that were found by name, the numbers of those that it has.

    Those in ``followed`` have a finalize job.
    """

    submissions: tuple[Submission, ...]
    active: frozenset[int]
    followed: frozenset[int]
    entries: Mapping[tuple[str, str], int]


class SlurmScripts(Scripts):
    """The sbatch scripts of submissions."""

    def write(self, run: RunDir, submission: Submission) -> Path:
        return write_script(run, submission)

    def check(self, script: Path) -> str | None:
        return f"sbatch --test-only: {scheduler.test_only(script)}" if scheduler.is_here() else None


class SlurmExecutor(Executor):
    """Runs array tasks as elements of Slurm job arrays."""

    name = "slurm"
    title = "Slurm"
    stops_with_launcher = False
    has_limits = True
    is_polled = True
    advice: Mapping[AnyFailureKind, str] = {}
    scripts: Scripts | None = SlurmScripts()

    def check(self, config: "Config") -> None:
        pass

    def prepare(self, config: "Config") -> None:
        if scheduler.is_here():
            ask_ahead(self._asked(config), with_nodes=not config.slurm.says_tasks)

    def tasks(self, config: "Config", shards: int) -> int:
        wanted = config.slurm.tasks_for(shards)
        if not scheduler.is_here():  # planned on another machine: the default of slurm.conf
            return min(wanted, DEFAULT_ARRAY_SIZE)
        asked = self._asked(config)
        self.prepare(config)
        limits = limits_for(asked)
        for notice in _hopeless(config, asked, limits):
            print(notice, file=sys.stderr, flush=True)
        most = min(limits.array_size, largest_wave(limits))
        if not config.slurm.says_tasks:
            most = min(most, _room(config, asked) or most)
        return max(1, min(wanted, most))

    def resources(self, config: "Config") -> Resources:
        """Also what the user's SBATCH_* variables ask for and the config leaves open: retries get it too."""
        return replace(
            _resources(config),
            warning=config.slurm.warning,
            grace=config.slurm.grace,
            requeue=config.slurm.requeue,
            default_time=_default_time(self._asked(config)),
        )

    def _asked(self, config: "Config") -> Options:
        return asked_options(config, _resources(config))

    def describe(self, config: "Config") -> list[str]:
        asked = self._asked(config)
        size = task_size(config, asked)
        words = ", ".join(name if value is None else f"{name}={value}" for name, value in sorted(asked.items()))
        lines = [
            f"array task: {size.cpus} CPUs ({size.processes} processes x max(workers, 1)), {size.gpus or 'no'} GPUs; "
            f"asked: {words}"
        ]
        if scheduler.is_here():
            limits = limits_for(asked)
            jobs = "no limit known" if limits.submit_jobs is None else f"{limits.submit_jobs} jobs of yours at a time"
            if limit := _default_time(asked):
                lines.append(f"time: {_told(limit)}")
            lines.append(f"limits: arrays of at most {limits.array_size} elements (MaxArraySize), {jobs}")
        return lines

    def examine(self, config: "Config") -> Sequence[Finding]:
        from launcher.slurm.examination import examine  # status imports this module, and does without

        return examine(config, self.resources(config))

    def limits(self, config: "Config", room: int) -> Limits:
        known, unknown = None, ""
        if scheduler.is_here():
            try:
                known = limits_for(self._asked(config))
            except RunError as error:  # what probe has measured is worth more than its limits
                unknown = f"Slurm's own limits are not known, so its defaults count: {error}"
        if known is None:
            return Limits(None, DEFAULT_ARRAY_SIZE, DEFAULT_JOB_COUNT, unknown)
        return Limits(None, known.array_size, known.jobs)

    def visible_gpus(self, config: "Config", here: int) -> int | None:
        asked = config.slurm.gpus
        if asked > here:
            raise InputError(
                f"{config.path}: array tasks ask for {asked} GPUs, and there are {here} here: run the probe on a node like "
                "theirs (srun --pty or salloc, with the same options), or try fewer: --set slurm.gpus_per_task=1"
            )
        return asked

    def limit_overrides(self, memory: str | None, time: str | None) -> list[str]:
        return [f"slurm.{name}={value}" for name, value in (("mem", memory), ("time", time)) if value]

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        """Submits as much as Slurm takes, and a finalize job after it; what it takes nothing of is held back for that job.

        Raises scheduler.LimitReached where Slurm takes nothing at all now.
        """
        del attached  # Slurm jobs never depend on the launcher
        return hand_over(run, submissions)

    def place(self, submission: Submission) -> str:
        if submission.job_ids:
            where = f" of cluster {submission.cluster}" if submission.cluster else ""
            limit = submission.resources.default_time
            time = f"; {_told(limit)}" if limit else ""
            return f"Slurm job {', '.join(submission.job_ids)}{where}, finalize job {submission.finalize_id}{time}"
        return f"held back until Slurm takes more jobs of yours; finalize job {submission.finalize_id} submits it"

    def recover(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        """Numbers of those that wait, run or will be finalized.

        Those whose launcher was killed get here what it could not record or submit any more: ids, the finalize job.
        """
        seen = _look(run, submissions)
        abandoned = [s for s in seen.submissions if not s.planned and not (s.process and may_run(run, s))]
        for submission in abandoned:
            if submission.process and submission.number in seen.followed:
                update(run, submission, process=None)
        unfollowed = [s for s in abandoned if s.number in seen.active - seen.followed]
        unsubmitted = [s for s in abandoned if s.process and s.number not in seen.active and not s.job_ids]
        followed: list[Submission] = []
        for cluster in dict.fromkeys(s.cluster for s in unfollowed):  # no job waits for one of another cluster
            followed += follow(run, [s for s in unfollowed if s.cluster == cluster], [] if followed else unsubmitted)
        return set(seen.active) | {s.number for s in followed}

    def observe(self, run: RunDir, submissions: Sequence[Submission]) -> Observation:
        seen = _look(run, submissions)
        return Observation(seen.active, seen.entries)

    def queue_advice(self, reason: str) -> str | None:
        return queue_advice(reason)

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        """scancel of the array and of its finalize job; waits until Slurm has ended them."""
        if submission.planned and not scheduler.is_here():
            return False  # planned on a machine without Slurm
        seen = _look(run, [submission])
        if not seen.active:
            return False
        (current,) = seen.submissions
        job_ids = [job_id for job_id in (current.finalize_id, *current.job_ids) if job_id]
        owner = submission.owner or user_name()
        try:
            scheduler.cancel(job_ids, current.cluster)
        except RunError as error:
            if owner == user_name():
                raise
            raise RunError(f"{run.path}: its Slurm jobs {', '.join(job_ids)} are those of {owner}: {error}") from None
        if not scheduler.await_end([JobId(number, current.cluster) for number in job_ids], [owner]):
            raise RunError(f"{run.path}: Slurm jobs {', '.join(job_ids)} of {owner} have not ended yet; see squeue")
        return True


def _resources(config: "Config") -> Resources:
    """The user's SBATCH_* variables win over profiles, as what a shell was told does over files."""
    gpus = None if "slurm.gpus_per_task" in config.profiles else config.slurm.gpus_per_task
    own = config.own_options if gpus is None else {**config.own_options, "gpus-per-task": gpus}
    return Resources(nodes_per_task=config.slurm.nodes_per_task, options=from_environment(own))


def _default_time(asked: Options) -> int | None:
    """The time limit, seconds, of array tasks that ask for none, as far as the cluster is here to tell."""
    return None if "time" in asked or not scheduler.is_here() else default_time(asked)


def _told(default_time: int) -> str:
    return f"each array task has {format_time(default_time)}, as its partition gives; slurm.time asks for another time"


def _hopeless(config: "Config", asked: Options, limits: SlurmLimits) -> list[str]:
    """What keeps Slurm from ever starting an array task, where sbatch does not refuse it."""
    size, count = task_size(config, asked), config.slurm.nodes_per_task
    per = {"mem": count, "mem-per-cpu": size.cpus * count, "mem-per-gpu": size.gpus * count}
    memory = max((amount(parse_memory, asked.get(name)) or 0) * times for name, times in per.items())
    wanted = {"cpu": size.cpus * count, "mem": memory, "node": count, "gres/gpu": size.gpus * count}
    seconds = amount(parse_time, asked.get("time"))
    # Of several clusters one may do.
    found = min((too_much(wanted, seconds, bounds) for bounds in limits.bounds), key=len, default=[])
    return [
        f"an array task would wait for ever: it asks for {text} (see sacctmgr show assoc, sacctmgr show qos)"
        for text in found
    ]


def _room(config: "Config", asked: Options) -> int:
    """How many of the config's array tasks the cluster can run at once; 0 where that is not known."""
    size = task_size(config, asked)
    whole_nodes = "exclusive" in asked
    at_once = (
        tasks_at_once(own, asked.get("partition"), size.cpus, size.gpus, whole_nodes=whole_nodes)
        for own in nodes(asked)
    )
    return max(at_once) // config.slurm.nodes_per_task


def _look(run: RunDir, submissions: Sequence[Submission]) -> _Seen:
    """One squeue call for each cluster that may have jobs of them, read by job name, and what launchers are at."""
    owners = {s.owner or user_name() for s in submissions}
    places = {s.number: clusters_of(run, s) for s in submissions}
    clusters = {cluster for own in places.values() for cluster in own}
    entries = scheduler.queue(owners, clusters) if submissions else []
    by_name = {entry.name: entry.job for entry in entries}
    live = {entry.job for entry in entries}
    seen = [_with_ids(run, s, by_name) for s in submissions]
    followed = {s.number for s in seen if JobId(str(s.finalize_id), s.cluster) in live}
    active = {s.number for s in seen if live & set(_jobs(s)) or (s.process and may_run(run, s))} | followed
    if owners - {user_name()}:
        hidden = {cluster for cluster in clusters if scheduler.hides_jobs(cluster)}  # nobody but their owner can tell
        others = (s for s in seen if (s.owner or user_name()) != user_name() and not s.planned)
        active |= {s.number for s in others if hidden & set(places[s.number])}
    own = {job for s in seen for job in (*_jobs(s), JobId(str(s.finalize_id), s.cluster))}
    states = Counter((entry.state, entry.reason) for entry in entries if entry.job in own)
    return _Seen(tuple(seen), frozenset(active), frozenset(followed), states)


def _with_ids(run: RunDir, submission: Submission, by_name: Mapping[str, JobId]) -> Submission:
    """With the ids of jobs that are in the queue too: a launcher that died after sbatch has not recorded them."""
    array = by_name.get(job_name(run, submission.number))
    finalize = by_name.get(finalize_name(run, follower_of(submission)))
    found = array or finalize
    return replace(
        submission,
        job_ids=submission.job_ids or ((array.number,) if array else ()),
        finalize_id=finalize.number if finalize else submission.finalize_id,
        cluster=submission.cluster or (found.cluster if found else None),
    )


def _jobs(submission: Submission) -> list[JobId]:
    return [JobId(number, submission.cluster) for number in submission.job_ids]
