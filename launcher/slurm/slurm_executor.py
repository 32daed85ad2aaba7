"""The Slurm executor: a submission's array tasks as one job array, followed by a finalize job that needs no login node.

A submission is written before sbatch and found again by its job name, so a launcher that dies in between, or an sbatch that
times out, leaves nothing behind that would be submitted twice. Submissions that Slurm does not take yet are held back:
they have no Slurm job id, and the finalize job of those before them submits them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import RunError
from jobs.storage.plans import Resources, Submission
from jobs.storage.rundir import RunDir
from launcher.runs.submissions import may_run, update
from launcher.slurm import scheduler
from launcher.slurm.handover import follow, follower_of, hand_over, largest_wave, write_script
from launcher.slurm.scripts import asked_options, finalize_name, job_name, task_size

if TYPE_CHECKING:
    from launcher.config.config import Config


@dataclass(frozen=True)
class Observation:
    """Numbers of the submissions that Slurm still has, and how many queue entries are in which (state, reason).

    ``submissions`` have the ids that were found by name; those in ``followed`` have a finalize job.
    """

    active: frozenset[int] = frozenset()
    entries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    submissions: tuple[Submission, ...] = ()
    followed: frozenset[int] = frozenset()


class SlurmExecutor:
    """Runs array tasks as elements of Slurm job arrays."""

    name = "slurm"
    stops_with_launcher = False
    has_limits = True

    def prepare(self) -> None:
        if scheduler.is_here():
            scheduler.ask_limits_ahead()

    def groups(self, config: "Config", shards: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        from launcher.plan.sharding import index_map

        together = config.slurm.shards_per_task * config.slurm.nodes_per_task
        return tuple(tuple(group) for group in index_map(sorted(shards), together))

    def largest_submission(self, config: "Config") -> int:
        """The most elements that one array may have."""
        if not scheduler.is_here():  # planned on a machine without Slurm: the default of slurm.conf
            return scheduler.DEFAULT_ARRAY_SIZE
        limits = scheduler.limits()
        return min(limits.array_size, largest_wave(limits))

    def resources(self, config: "Config") -> Resources:
        return Resources(nodes_per_task=config.slurm.nodes_per_task)

    def describe(self, config: "Config") -> list[str]:
        asked = asked_options(config, Resources())
        size = task_size(config, asked)
        words = ", ".join(name if value is None else f"{name}={value}" for name, value in sorted(asked.items()))
        lines = [
            f"array task: {size.cpus} CPUs ({size.processes} processes x max(workers, 1)), {size.gpus or 'no'} GPUs; "
            f"asked: {words}"
        ]
        if scheduler.is_here():
            limits = scheduler.limits()
            jobs = "no limit known" if limits.submit_jobs is None else f"{limits.submit_jobs} jobs of yours at a time"
            lines.append(f"limits: arrays of at most {limits.array_size} elements (MaxArraySize), {jobs}")
        return lines

    def write(self, run: RunDir, submission: Submission) -> Path:
        """Writes the submission's script, ready for sbatch."""
        return write_script(run, submission)

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        """Submits what Slurm takes, and a finalize job after it; the rest is held back for that job.

        Raises scheduler.LimitReached where Slurm takes nothing at all now.
        """
        del attached  # Slurm jobs never depend on the launcher
        return hand_over(run, submissions)

    def active(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        """Numbers of those that wait, run or will be finalized.

        Those whose launcher was killed get here what it could not record or submit any more: ids, the finalize job.
        """
        seen = self.observe(run, submissions)
        abandoned = [s for s in seen.submissions if not s.planned and not (s.process and may_run(run, s))]
        for submission in abandoned:
            if submission.process and submission.number in seen.followed:
                update(run, submission, process=None)
        unfollowed = [s for s in abandoned if s.number in seen.active - seen.followed]
        unsubmitted = [s for s in abandoned if s.process and s.number not in seen.active and not s.job_ids]
        followed = follow(run, unfollowed, unsubmitted) if unfollowed else []
        return set(seen.active) | {s.number for s in followed}

    def observe(self, run: RunDir, submissions: Sequence[Submission]) -> Observation:
        """What Slurm has of these submissions: one squeue call, read by job name, and what launchers are at."""
        if not submissions:
            return Observation()
        entries = scheduler.queue()
        by_name = {entry.name: entry.job_id for entry in entries}
        live = {entry.job_id for entry in entries}
        seen = [_with_ids(run, submission, by_name) for submission in submissions]
        followed = {s.number for s in seen if s.finalize_id in live}
        active = {s.number for s in seen if live & set(s.job_ids) or (s.process and may_run(run, s))} | followed
        own = {job_id for s in seen for job_id in (*s.job_ids, s.finalize_id)}
        states = Counter((entry.state, entry.reason) for entry in entries if entry.job_id in own)
        return Observation(frozenset(active), dict(states), tuple(seen), frozenset(followed))

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        """scancel of the array and of its finalize job; waits until Slurm has ended them."""
        if submission.planned and not scheduler.is_here():
            return False  # planned on a machine without Slurm
        seen = self.observe(run, [submission])
        if not seen.active:
            return False
        (current,) = seen.submissions
        job_ids = [job_id for job_id in (current.finalize_id, *current.job_ids) if job_id]
        scheduler.cancel(job_ids)
        if not scheduler.await_end(job_ids):
            raise RunError(f"{run.path}: Slurm jobs {', '.join(job_ids)} have not ended yet; see squeue")
        return True


def _with_ids(run: RunDir, submission: Submission, by_name: Mapping[str, str]) -> Submission:
    """The submission with ids of jobs that are in the queue: a launcher that died after sbatch has not recorded them."""
    job_id = by_name.get(job_name(run, submission.number))
    finalize_id = by_name.get(finalize_name(run, follower_of(submission)), submission.finalize_id)
    return replace(submission, job_ids=submission.job_ids or ((job_id,) if job_id else ()), finalize_id=finalize_id)
