"""The Slurm executor: a submission's array tasks as one job array, followed by a finalize job that needs no login node.

A submission is written before sbatch and found again by its job name, so a launcher that dies in between, or an sbatch that
times out, leaves nothing behind that would be submitted twice. Submissions that Slurm does not take yet are held back:
they have no Slurm job id, and the finalize job of those before them submits them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import RunError
from jobs.storage.files import write_bytes
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from launcher import slurm
from launcher.slurm_scripts import array_script, finalize_name, finalize_script, job_name
from launcher.submissions import update

if TYPE_CHECKING:
    from launcher.config import Config

# Slurm counts each array element as a job; one place is for the finalize job, one for its successor.
_FINALIZE_JOBS = 2


@dataclass(frozen=True)
class Observation:
    """Numbers of the submissions that Slurm still has, and how many queue entries are in which (state, reason)."""

    active: frozenset[int]
    entries: Mapping[tuple[str, str], int]


class SlurmExecutor:
    """Runs array tasks as elements of Slurm job arrays."""

    name = "slurm"
    stops_with_launcher = False
    has_limits = True

    def groups(self, config: "Config", shards: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        from launcher.sharding import index_map

        together = config.slurm.shards_per_task * config.slurm.nodes_per_task
        return tuple(tuple(group) for group in index_map(sorted(shards), together))

    def largest_submission(self, config: "Config") -> int:
        """The most elements that one array may have."""
        if not slurm.is_here():  # planned on a machine without Slurm: the default of slurm.conf
            return slurm.DEFAULT_ARRAY_SIZE
        limits = slurm.limits()
        by_user = max(1, limits.submit_jobs - _FINALIZE_JOBS) if limits.submit_jobs is not None else limits.array_size
        return min(limits.array_size, by_user)

    def resources(self, config: "Config") -> dict[str, Any]:
        return {"nodes_per_task": config.slurm.nodes_per_task}

    def describe(self, config: "Config") -> list[str]:
        processes = config.processes
        asked = ", ".join(f"{name}={value}" for name, value in sorted(config.slurm.options.items())) or "site defaults"
        lines = [
            f"array task: {config.cpus_per_task(processes)} CPUs ({processes} processes x max(workers, 1)), "
            f"{config.slurm.gpus or 'no'} GPUs; {asked}"
        ]
        if slurm.is_here():
            limits = slurm.limits()
            jobs = "no limit known" if limits.submit_jobs is None else f"{limits.submit_jobs} jobs of yours at a time"
            lines.append(f"limits: arrays of at most {limits.array_size} elements (MaxArraySize), {jobs}")
        return lines

    def write(self, run: RunDir, submission: Submission) -> Path:
        """Writes the submission's script, ready for sbatch."""
        script = array_script(run, submission_config(run, submission), submission)
        write_bytes(run.script(submission.number), script.encode())
        return run.script(submission.number)

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        """Submits what Slurm takes, and a finalize job after it; the rest is held back for that job.

        Raises slurm.LimitReached where Slurm takes nothing at all now.
        """
        del attached  # Slurm jobs never depend on the launcher
        for submission in submissions:
            self.write(run, submission)
        started: list[Submission] = []
        for submission in submissions:
            try:
                started.append(self._submit(run, submission))
            except slurm.LimitReached:
                if not started:
                    raise
                break
        held = [update(run, submission, process=None) for submission in submissions[len(started) :]]
        return self._follow(run, [*started, *held])

    def _submit(self, run: RunDir, submission: Submission) -> Submission:
        name = job_name(run, submission.number)
        job_id = slurm.submit(run.script(submission.number), name)
        return update(run, submission, job_ids=(job_id,), process=None)

    def _follow(self, run: RunDir, submissions: list[Submission]) -> list[Submission]:
        """Submits the finalize job of these submissions."""
        first = submissions[0]
        numbers = [submission.number for submission in submissions if submission.job_ids]
        job_ids = [job_id for submission in submissions for job_id in submission.job_ids]
        script = finalize_script(run, submission_config(run, first), numbers, job_ids)
        path = _finalize_path(run, first.number)
        write_bytes(path, script.encode())
        finalize_id = slurm.submit(path, finalize_name(run, first.number))
        return [update(run, submission, finalize_id=finalize_id) for submission in submissions]

    def active(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        """Numbers of those that wait, run or will be finalized."""
        return set(self.observe(run, submissions).active)

    def observe(self, run: RunDir, submissions: Sequence[Submission]) -> Observation:
        """What Slurm has of these submissions: one squeue call, read by job name.

        A submission whose Slurm job id was lost, because the launcher died after sbatch, gets it back here.
        """
        if not submissions:
            return Observation(frozenset(), {})
        entries = slurm.queue()
        by_name = {entry.name: entry.job_id for entry in entries}
        found: set[int] = set()
        own: set[str] = set()
        for submission in submissions:
            name = job_name(run, submission.number)
            if name in by_name and not submission.job_ids:
                submission = update(run, submission, job_ids=(by_name[name],), process=None)
            mine = {*submission.job_ids, submission.finalize_id} & {entry.job_id for entry in entries}
            own |= {job_id for job_id in mine if job_id}
            if mine:
                found.add(submission.number)
        states = Counter((entry.state, entry.reason) for entry in entries if entry.job_id in own)
        return Observation(frozenset(found), dict(states))

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        """scancel of the array and of its finalize job; waits until Slurm has ended them."""
        if submission.number not in self.active(run, [submission]):
            return False
        current = Submission.read(run.submission(submission.number))
        job_ids = [job_id for job_id in (current.finalize_id, *current.job_ids) if job_id]
        slurm.cancel(job_ids)
        if not slurm.await_end(job_ids):
            raise RunError(f"{run.path}: Slurm jobs {', '.join(job_ids)} have not ended yet; see squeue")
        return True


def submission_config(run: RunDir, submission: Submission) -> "Config":
    """The config that a submission was made with."""
    from launcher.config import config_from_mapping
    from launcher.guard import config_path

    return config_from_mapping(submission.resources["config"], config_path(Plan.read(run.plan)))


def _finalize_path(run: RunDir, number: int) -> Path:
    return run.submissions / f"{number:04d}.finalize.sbatch"
