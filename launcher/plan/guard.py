"""Guard: keeps what decides a run's result as it was planned; other settings may change from submission to submission."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.config.config import differences

_DECIDING = ("job.", "data.", "node.batch_size")
# Which array index runs which shards; the shards stay the same.
_NOT_DECIDING = ("data.order",)


def config_path(plan: Plan) -> Path:
    """The config that the run was planned from; its folder is where relative paths start."""
    return Path(plan.environment["config"])


def deciding_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences of two configs (to_mapping) in what decides the result, a line each."""
    return [line for line in differences(old, new) if line.startswith(_DECIDING) and not line.startswith(_NOT_DECIDING)]


def refuse_changes(run: RunDir, changes: Sequence[str]) -> None:
    """Raises InputError where something that decides the result changed."""
    if changes:
        listed = "\n".join(f"  {change}" for change in changes)
        raise InputError(
            f"{run.path}: this run was planned otherwise, and results of both would not fit together:\n{listed}\n"
            f"Give the run another name (--set name={run.name}-2), or delete it first: rm -r {run.path}"
        )
