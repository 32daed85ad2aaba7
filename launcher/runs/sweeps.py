"""Sweeps: which runs are of one sweep, as their plans say."""

from collections.abc import Sequence
from pathlib import Path

from jobs.errors import LauncherError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.runs.set_aside import was_set_aside


def sweep_of(plan: Plan) -> str | None:
    """The name of the sweep that a run was planned in."""
    name = plan.config.get("sweep")
    return name if isinstance(name, str) else None


def runs_of(folder: Path, name: str) -> Sequence[RunDir]:
    """The runs of a sweep that a folder has, by name; with those that are called so and whose plans are damaged.

    What is done to all of a sweep fails for these, and does not pass over them. What was set aside is none of it any more.
    """
    paths = sorted(folder.glob(f"{name}-*/plan.json")) if folder.is_dir() and _is_name(name) else []
    runs = [run for run in (RunDir(path.parent) for path in paths) if not was_set_aside(run)]
    said = {run: _is_said(run, name) for run in runs}
    return [run for run, is_own in said.items() if is_own is not False] if any(said.values()) else []


def is_of_sweep(run: RunDir, name: str) -> bool:
    """Also one that is called so, and whose plan is damaged."""
    is_own = _is_said(run, name)
    return run.name.startswith(f"{name}-") if is_own is None else is_own


def _is_name(text: str) -> bool:
    """Whether it is no pattern, and no path."""
    return bool(text) and not set(text) & set("/*?[")


def _is_said(run: RunDir, name: str) -> bool | None:
    """None where its plan cannot be read."""
    try:
        return sweep_of(Plan.read(run.plan)) == name
    except (LauncherError, OSError):
        return None
