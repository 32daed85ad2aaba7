"""ChosenRun: what a RUN argument means: a run by its path or name, the newest one, or the run of a config."""

import os
from collections.abc import Sequence
from pathlib import Path

from jobs.errors import InputError
from jobs.storage.rundir import RunDir
from launcher.runs.find import RUNS_FOLDER, find_run, list_runs
from launcher.runs.sweeps import runs_of

_CONFIGS = (".yaml", ".yml")


def is_config(text: str) -> bool:
    """Whether a RUN argument is a config, not a run of such a name."""
    return text.endswith(_CONFIGS) and Path(text).is_file()


def chosen_run(text: str | None) -> RunDir:
    """Raises InputError where there is none. A config says where its run is, wherever ``runs`` points to."""
    if text is None or not is_config(text):
        return _found(text)
    from launcher.config.config import run_folder_of  # it takes a while

    run = RunDir(run_folder_of(Path(text)))
    if not run.plan.exists():
        raise InputError(f"{text}: its run, {run.path}, is not planned yet: launcher plan {text}")
    return run


def runs_of_sweep(text: str) -> Sequence[RunDir]:
    """The runs of the sweep of this name, where no run has it: those below ./runs, else where profiles put runs."""
    if "/" in text or any(RunDir(folder / text).plan.is_file() for folder in (Path(), RUNS_FOLDER)):
        return []
    folder = profile_folder()
    return runs_of(RUNS_FOLDER, text) or (runs_of(folder, text) if folder and not (folder / text).exists() else [])


def _found(text: str | None) -> RunDir:
    """A run below ./runs, else one where profiles put runs."""
    try:
        return find_run(text)
    except InputError:
        folder = profile_folder() if text is None or "/" not in text else None
        runs = list_runs(folder) if folder and text is None else []
        if folder and text and RunDir(folder / text).plan.is_file():
            return RunDir(folder / text)
        if not runs:
            raise
        return runs[0]


def profile_folder() -> Path | None:
    """The folder of runs that profiles name; None where they name none."""
    from launcher.config.profile_files import profile_files

    if not profile_files():
        return None
    from launcher.config.profiles import read_profiles  # it takes a while

    setting = read_profiles().get(("runs",))
    return Path(os.path.expanduser(setting.value)) if setting and isinstance(setting.value, str) else None
