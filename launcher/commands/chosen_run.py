"""ChosenRun: what a RUN argument means: a run by its path or name, the newest one, or the run of a config, or of a result."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from jobs.errors import InputError
from jobs.storage.files import exists, is_file
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.config import ENDINGS
from launcher.runs.find import RUNS_FOLDER, find_run, reference
from launcher.runs.sweeps import runs_of


def is_config(text: str) -> bool:
    """Whether a RUN argument is a config, not a run of such a name."""
    return text.endswith(ENDINGS) and Path(text).is_file()


def is_result(text: str) -> bool:
    """Whether it is a file of another kind, which may be a result."""
    return Path(text).is_file() and not is_config(text)


def chosen_run(text: str | None) -> RunDir:
    """Raises InputError where there is none. A config says where its run is, wherever ``runs`` points to."""
    if text is None or not Path(text).is_file():
        return _named_run(text)
    if is_result(text):
        return _run_of_result(Path(text)) if _is_hdf5(Path(text)) else find_run(text, profile_folder)
    from launcher.config.place import run_folder_of  # it takes a while

    run = RunDir(run_folder_of(Path(text)))
    if not exists(run.plan):
        raise InputError(f"{text}: its run, {run.path}, is not planned yet: launcher plan {shlex.quote(text)}")
    return run


def _named_run(text: str | None) -> RunDir:
    try:
        return find_run(text, profile_folder)
    except InputError:
        names = [reference(run) for run in (runs_of_sweep(text) if text else [])]
        if not names:
            raise
    raise InputError(f"{text}: is a sweep, and this is for a run; its runs: {', '.join(names)}")


def _is_hdf5(path: Path) -> bool:
    from jobs.storage.seals import HDF5

    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def _run_of_result(path: Path) -> RunDir:
    """The run that has written a result, as that tells itself: it may lie anywhere."""
    from launcher import results  # h5py takes a while

    with results.open(path, allow_incomplete=True) as found:
        told = found.provenance
    folders = [path.absolute().parent, *(Path(one["folder"]) for one in told["submissions"][-1:] if one.get("folder"))]
    for run in map(RunDir, folders):
        if is_file(run.plan) and Plan.read(run.plan).fingerprint == told["fingerprint"]:
            return run
    where = f"; it was written by {folders[-1]}, which is gone or has another plan now" if len(folders) > 1 else ""
    raise InputError(
        f"{path}: the run of this result is not to be found{where}; its failed samples: launcher errors "
        f"{shlex.quote(str(path))}"
    )


def all_meant(texts: Iterable[str]) -> list[RunDir]:
    """The runs of RUN arguments, of which the name of a sweep stands for all of its runs; without any the newest run."""
    return [run for text in texts for run in runs_of_sweep(text) or [chosen_run(text)]] or [chosen_run(None)]


def runs_of_sweep(text: str) -> Sequence[RunDir]:
    """The runs of the sweep of this name, where no run has it: those below ./runs, else where profiles put runs."""
    if "/" in text or any(is_file(RunDir(folder / text).plan) for folder in (Path(), RUNS_FOLDER)):
        return []
    if found := runs_of(RUNS_FOLDER, text):
        return found
    folder = profile_folder()
    return runs_of(folder, text) if folder and not (folder / text).exists() else []


def profile_folder() -> Path | None:
    """The folder of runs that profiles name; None where they name none."""
    from launcher.config.profile_files import profile_files

    if not profile_files():
        return None
    from launcher.config.profiles import read_profiles  # it takes a while

    setting = read_profiles().get(("runs",))
    return Path(os.path.expanduser(setting.value)) if setting and isinstance(setting.value, str) else None
