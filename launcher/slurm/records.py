"""Records: what the record of a submission says: its config, its script, where its jobs are, who ends it."""

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.storage.files import write_bytes
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.slurm.scripts import array_script, asked_clusters

if TYPE_CHECKING:
    from launcher.config.config import Config

NAME = "slurm"
"""Of the executor, in the table and in submissions."""


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
