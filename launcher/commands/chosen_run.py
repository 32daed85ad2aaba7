"""ChosenRun: what a RUN argument means: a run by its path or name, the newest one, or the run of a config."""

from pathlib import Path

from jobs.errors import InputError
from jobs.storage.rundir import RunDir
from launcher.runs.find import find_run

_CONFIGS = (".yaml", ".yml")


def is_config(text: str) -> bool:
    """Whether a RUN argument is a config, not a run of such a name."""
    return text.endswith(_CONFIGS) and Path(text).is_file()


def chosen_run(text: str | None) -> RunDir:
    """Raises InputError where there is none. A config says where its run is, wherever ``runs`` points to."""
    if text is None or not is_config(text):
        return find_run(text)
    from launcher.config.config import run_folder_of  # it takes a while

    run = RunDir(run_folder_of(Path(text)))
    if not run.plan.exists():
        raise InputError(f"{text}: its run, {run.path}, is not planned yet: launcher plan {text}")
    return run
