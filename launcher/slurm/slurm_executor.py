"""The Slurm executor: a submission's array tasks as one job array, followed by a finalize job that needs no login node.

A submission is written before sbatch and found again by its job name, so a launcher that dies in between, or an sbatch that
times out, leaves nothing behind that would be submitted twice. Where Slurm takes only some of the elements of an array,
these do all its work. Submissions of which it takes none yet are held back: they have no Slurm job id, and the finalize
job of those before them submits them.
"""

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError, RunError
from jobs.kinds import AnyFailureKind
from jobs.machine.user import user_name
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Resources, Submission
from launcher.executors import Executor, Finding, Limits, Observation, Scripts
from launcher.runs.attendant import find_attendant
from launcher.runs.submissions import Outcome, may_run, read_submissions, update
from launcher.slurm import sbatch, scheduler
from launcher.slurm.environment import from_environment
from launcher.slurm.followers import Unfollowed, checked, follow, leave_to_launcher
from launcher.slurm.handover import hand_over, largest_wave
from launcher.slurm.limits import (
    DEFAULT_ARRAY_SIZE,
    DEFAULT_JOB_COUNT,
    ask_ahead,
    limits_for,
)
from launcher.slurm.outlook import describe, remarks, room
from launcher.slurm.parsers import JobId
from launcher.slurm.reasons import queue_advice
from launcher.slurm.records import NAME, write_script
from launcher.slurm.scripts import Options, asked_options
from launcher.slurm.sighting import look
from launcher.slurm.successors import end_submissions, left_to_launcher, submit_waiting
from launcher.slurm.time_limit import given_time, warning

if TYPE_CHECKING:
    from launcher.config.config import Config


class SlurmScripts(Scripts):
    """The sbatch scripts of submissions."""

    def write(self, run: RunDir, submission: Submission) -> Path:
        return write_script(run, submission)

    def check(self, script: Path) -> str | None:
        if not scheduler.is_here():
            return None
        try:
            return f"sbatch --test-only: {sbatch.test_only(script)}"
        except sbatch.NoArrays as refusal:
            return f"{refusal}: so each array task will be a job of its own"


class SlurmExecutor(Executor):
    """Runs array tasks as elements of Slurm job arrays."""

    name = NAME
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
            ask_ahead(self._asked(config))

    def tasks(self, config: "Config", shards: int) -> int:
        wanted = config.slurm.tasks_for(shards)
        if not scheduler.is_here():  # planned on another machine: the default of slurm.conf
            return min(wanted, DEFAULT_ARRAY_SIZE)
        asked = self._asked(config)
        self.prepare(config)
        limits = limits_for(asked)
        most = min(limits.tasks, largest_wave(limits))
        if not config.slurm.says_tasks:
            most = min(most, room(config, asked) or most)
        return max(1, min(wanted, most))

    def resources(self, config: "Config") -> Resources:
        """Also what the user's SBATCH_* variables ask for and the config leaves open: retries get it too."""
        asked = self._asked(config)
        given = given_time(asked)
        return replace(_resources(config), default_time=given, warning=warning(config, asked.get("time"), given))

    def _asked(self, config: "Config") -> Options:
        return asked_options(config, _resources(config))

    def describe(self, config: "Config") -> list[str]:
        return describe(config, self._asked(config), _resources(config))

    def remarks(self, config: "Config") -> list[str]:
        """What keeps it from ever starting; what time it has where it asks for none, and what it leaves idle of its nodes."""
        return remarks(config, self._asked(config), _resources(config)) if scheduler.is_here() else []

    def examine(self, config: "Config") -> Sequence[Finding]:
        from launcher.slurm.examination import examine  # status imports this module, and does without

        return examine(config, _resources(config))

    def limits(self, config: "Config", room: int) -> Limits:
        known, unknown = None, ""
        if scheduler.is_here():
            try:
                known = limits_for(self._asked(config))
            except RunError as error:  # what probe has measured is worth more than its limits
                unknown = f"Slurm's own limits are not known, so its defaults count: {error}"
        if known is None:
            return Limits(None, DEFAULT_ARRAY_SIZE, DEFAULT_JOB_COUNT, unknown)
        return Limits(None, known.tasks, known.jobs)

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

        Raises InputError where it would refuse the finalize job, before anything is submitted, and Unfollowed where it
        refuses that later; sbatch.LimitReached where it takes nothing at all now. ``attached``, the launcher stays and
        does what that job would.
        """
        submissions = [checked(run, submission, attached) for submission in submissions]
        try:
            return hand_over(run, submissions)
        except Unfollowed as problem:
            if not attached:
                raise
            print(problem, file=sys.stderr, flush=True)
            return list(problem.submissions)
        except sbatch.LimitReached as refusal:
            if not (attached and submissions[0].resources.attended):
                raise
            print(refusal, file=sys.stderr, flush=True)
            return leave_to_launcher(run, submissions)

    def end_attended(self, run: RunDir, done: Collection[int], *, ask: bool) -> bool:
        known = [one.submission for one in read_submissions(run) if one.outcome is None and not one.is_copied]
        own = [s for s in known if s.executor == NAME and s.resources.attended and s.is_submitted]
        queued = look(run, own).queued if ask and own else {s.number for s in own}
        ended = sorted({s.number for s in own} - (queued - set(done)))
        end_submissions(run, ended)
        waiting = left_to_launcher(run) if ask or ended else []
        try:
            return bool(submit_waiting(run, waiting) or ended)
        except sbatch.LimitReached as refusal:  # another time
            print(refusal, file=sys.stderr, flush=True)
            return bool(ended)

    def place(self, submission: Submission) -> str:
        where = f" of cluster {submission.cluster}" if submission.cluster else ""
        jobs = f"Slurm job {', '.join(submission.job_ids)}{where}" if submission.job_ids else ""
        if submission.resources.attended:
            return f"{jobs or 'held back until Slurm takes more jobs of yours'}, no finalize job"
        if jobs:
            return f"{jobs}, finalize job {submission.finalize_id}"
        return f"held back until Slurm takes more jobs of yours; finalize job {submission.finalize_id} submits it"

    def recover(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        """Numbers of those that wait, run or will be finalized.

        Those whose launcher was killed get here what it could not record or submit any more: ids, the finalize job.
        """
        seen = look(run, submissions)
        abandoned = [s for s in seen.submissions if not s.planned and not (s.process and may_run(run, s))]
        attended = {s.number for s in seen.submissions if s.resources.attended}
        for submission in abandoned:
            if submission.process and submission.number in seen.followed | (attended & seen.queued):
                update(run, submission, process=None)
        # Of another user's nothing may be visible here, his finalize job neither; and a job of ours would not be his.
        own_ones = [s for s in abandoned if (s.owner or user_name()) == user_name()]
        unfollowed = [s for s in own_ones if s.number in seen.active - seen.followed - attended]
        unsubmitted = [s for s in abandoned if s.process and s.number not in seen.active and not s.job_ids]
        followed: list[Submission] = []
        for cluster in dict.fromkeys(s.cluster for s in unfollowed):  # no job waits for one of another cluster
            own = [s for s in unfollowed if s.cluster == cluster]
            try:
                followed += follow(run, own, [] if followed else unsubmitted)
            except Unfollowed as problem:  # they run all the same
                print(problem, file=sys.stderr, flush=True)
                followed += problem.submissions
        if attended and find_attendant(run):
            return set(seen.active) | {s.number for s in followed} | attended
        return set(seen.active) | {s.number for s in followed}

    def observe(self, run: RunDir, submissions: Sequence[Submission]) -> Observation:
        seen = look(run, submissions)
        return Observation(seen.active, seen.entries)

    def queue_advice(self, reason: str) -> str | None:
        return queue_advice(reason)

    def without_nodes(self, nodes: Sequence[str]) -> str | None:
        return f"--set slurm.exclude={','.join(nodes)}"

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        """scancel of the array and of its finalize job; waits until Slurm has ended them."""
        if submission.planned and not scheduler.is_here():
            return False  # planned on a machine without Slurm
        seen = look(run, [submission])
        (current,) = seen.submissions
        if seen.foreign:
            (job, name), *_ = seen.foreign.items()
            raise RunError(
                f"{run.path}: Slurm job {job.number} is called {name}: it seems to be another, with the number of "
                f"a job of this run, and nothing is cancelled; if it is of this run all the same: scancel {job.number}"
            )
        if not seen.active:
            return False
        job_ids = [job_id for job_id in (current.finalize_id, *current.job_ids) if job_id]
        owner = current.owner or user_name()
        # First the outcome, or `launcher run` would see tasks that failed.
        if tells := submission.resources.attended and owner == user_name():
            Outcome(time.time(), cancelled=True).write(run, submission.number)
        try:
            scheduler.cancel(job_ids, current.cluster)
        except RunError as error:
            if tells:
                run.outcome(submission.number).unlink(missing_ok=True)  # it goes on, and can be cancelled again
            if owner == user_name():
                raise
            raise RunError(f"{run.path}: its Slurm jobs {', '.join(job_ids)} are those of {owner}: {error}") from None
        if not scheduler.await_end([JobId(number, current.cluster) for number in job_ids], [owner]):
            raise RunError(f"{run.path}: Slurm jobs {', '.join(job_ids)} of {owner} have not ended yet; see squeue")
        return True


def _resources(config: "Config") -> Resources:
    """What is known without Slurm. SBATCH_* variables win over profiles, as what a shell was told does over files."""
    gpus = None if "slurm.gpus_per_task" in config.profiles else config.slurm.gpus_per_task
    own = config.own_options if gpus is None else {**config.own_options, "gpus-per-task": gpus}
    return Resources(
        nodes_per_task=config.slurm.nodes_per_task,
        options=from_environment(own),
        attended=config.slurm.is_attended,
        warning=config.slurm.warning,
        grace=config.slurm.grace,
        requeue=config.slurm.requeue,
    )
