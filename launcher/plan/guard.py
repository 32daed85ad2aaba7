"""Guard: keeps what decides a run's result as it was planned; other settings may change from submission to submission.

Where it has changed, a plan of which nothing is computed is replaced. Once there are results, somebody has to say whether
they stay right (KEEP) or everything is computed again (FRESH).
"""

import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.config.differences import differences

_DECIDING = ("job.", "data.", "node.batch_size")
# Which array index runs which shards; the shards stay the same. Where code lies is nothing to what it is.
_NOT_DECIDING = ("data.order", "job.import_from")
# With these, batches and rows are other ones: no result of before fits.
_CUTTING = ("data.", "node.batch_size", "the samples")


class Way(Enum):
    """What is to become of results that another plan, or other code, has made; the values are the flags."""

    REFUSE = ""
    KEEP = "--keep-results"
    FRESH = "--fresh"

    @classmethod
    def of(cls, *, keep_results: bool, fresh: bool) -> "Way":
        """Raises InputError for both."""
        if keep_results and fresh:
            raise InputError("to keep results and to compute all again are two ways: give one of them")
        return cls.KEEP if keep_results else cls.FRESH if fresh else cls.REFUSE


def config_path(plan: Plan) -> Path:
    """The config that the run was planned from; its folder is where relative paths start, unless it names another."""
    return Path(plan.environment["config"])


def config_folder(plan: Plan) -> Path:
    """Where the relative paths of its config started."""
    parent, start = config_path(plan).parent, plan.config.get("folder")
    return Path(os.path.normpath(parent / Path(start).expanduser())) if start else parent


def check_job_folder(run: RunDir, plan: Plan) -> None:
    """Raises InputError where the folder is gone in which the Job works."""
    folder = plan.job.folder
    if folder is not None and not os.path.isdir(folder):
        raise InputError(
            f"{folder}: the folder that {run.path} was planned from is gone, where its Job works; if it was moved, plan it "
            "again where it is now: launcher run CONFIG, or by the script or notebook that did"
        )


def deciding_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences of two configs (to_mapping) in what decides the result, a line each."""
    return [line for line in differences(old, new) if line.startswith(_DECIDING) and not line.startswith(_NOT_DECIDING)]


def can_be_kept(changes: Sequence[str]) -> bool:
    """Whether results may still be right after these changes: only the Job is another one."""
    return not any(change.startswith(_CUTTING) for change in changes)


def _may_be_larger(changes: Sequence[str]) -> bool:
    """Whether only the samples are others, or where they come from."""
    return all(change.startswith(("the samples", "data.manifest")) for change in changes)


def refusal(run: RunDir, changes: Sequence[str], grows_from: str | None, *, of_python: bool = False) -> InputError:
    """That something that decides the result has changed, and the ways on.

    ``grows_from``: the config with which it can be extended; None where its samples are those of another run, or a script's.
    ``of_python``: a script or notebook planned it, and its user knows no flags.
    """
    listed = "\n".join(f"  {change}" for change in changes)
    again, fresh, name = "the same command with --keep-results", "--fresh", f"--set name={run.name}-2"
    if of_python:
        again, fresh, name = "keep_results=True (of a command: --keep-results)", "fresh=True", f'name="{run.name}-2"'
    keep = f"Where the results stay right all the same: {again}, and their provenance says so.\n"
    extend = (
        f"To compute new samples alone: launcher extend {grows_from}; samples whose values have changed (a corrected row) are "
        "computed again with --changed.\n"
    )
    return InputError(
        f"{run.path}: there are results of this run, and it is not what it was; results of both would not fit together:\n"
        f"{listed}\n{keep if can_be_kept(changes) else ''}"
        f"{extend if _may_be_larger(changes) and grows_from else ''}"
        f"To compute everything again: with {fresh}, and what is there is set aside. To have both: {name}"
    )
