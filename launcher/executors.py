"""Executor: what runs the array tasks of a submission. Chosen by the config; used by submit, rerun, run and cancel.

An executor only executes: which shards, with which settings, is in the Submission; what is tried again, and when the
result is written, is decided in retry.finalize, which an executor calls once all tasks of a submission have ended.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jobs.storage.plans import Resources, Submission
from jobs.storage.rundir import RunDir

if TYPE_CHECKING:
    from launcher.config.config import Config

Groups = tuple[tuple[int, ...], ...]


class Executor(Protocol):
    """The local machine, or a scheduler."""

    name: str
    stops_with_launcher: bool
    """Whether the array tasks end when `launcher run` does."""
    has_limits: bool
    """Whether array tasks have limits of memory and time that a rerun can raise (--mem, --time)."""

    def prepare(self) -> None:
        """Something is going to be submitted, after a while."""

    def groups(self, config: "Config", shards: Sequence[int]) -> Groups:
        """Array index -> the shards that it runs, in sequence."""

    def resources(self, config: "Config") -> Resources:
        """What each array task gets, for Submission.resources."""

    def describe(self, config: "Config") -> list[str]:
        """The resources and limits in words, for `plan`."""

    def largest_submission(self, config: "Config") -> int | None:
        """The most array tasks that one submission may have; None: any number."""

    def write(self, run: RunDir, submission: Submission) -> Path | None:
        """Writes what a person could start the submission with by hand; None where there is nothing of the kind."""

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        """Starts submissions that are written already; returns at once, with their ids added and written.

        ``attached``: the tasks leave when this process dies, where the executor can do that.
        """

    def active(self, run: RunDir, submissions: Sequence[Submission]) -> set[int]:
        """Numbers of those of which anything runs, waits, retries or gathers; may ask the scheduler, once."""

    def cancel(self, run: RunDir, submission: Submission) -> bool:
        """Stops it and waits until its tasks are gone; False where nothing ran. A second call at once hurries it.

        Raises RunError where that does not happen in time or cannot be done from here.
        """


def choose_executor(name: str) -> Executor:
    """The executor of a config (auto, slurm, local) or of a submission."""
    from launcher.local.local_executor import LocalExecutor

    if name == "slurm" or (name == "auto" and shutil.which("sbatch")):
        from launcher.slurm.slurm_executor import SlurmExecutor

        return SlurmExecutor()
    return LocalExecutor()
