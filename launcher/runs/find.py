"""Find: a run directory by its path or name, the newest run, and all runs of a folder.

A run directory is one that has a plan.json; planning writes that file last.
"""

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from jobs.errors import InputError
from jobs.nearest import nearest
from jobs.storage.files import exists, is_file
from jobs.storage.rundir import RunDir

RUNS_FOLDER = Path("runs")


def find_run(text: str | None, elsewhere: Callable[[], Path | None] = lambda: None) -> RunDir:
    """The run of a RUN argument: a run directory, the name of one below ./runs, or None for the newest there.

    A name that is not there is looked for in the folder of ``elsewhere``, and then among all that this user has planned. Raises
    InputError where there is none, with names that look like it, and where there are several.
    """
    if text is None:
        runs = list_runs(RUNS_FOLDER) or list_runs(elsewhere() or RUNS_FOLDER)
        if not runs:
            raise InputError(
                f"no run below {RUNS_FOLDER.absolute()}: give a run directory, or plan one: launcher plan CONFIG; "
                "those that lie elsewhere: launcher list --all"
            )
        return runs[0]
    if not text:  # the working directory, as a path: not what was meant
        raise InputError("RUN is empty (a variable that is not set?): give a run directory, or a run's name")
    candidates = [Path(text)] if "/" in text else [Path(text), RUNS_FOLDER / text]
    for path in candidates:
        if is_file(RunDir(path).plan):
            return RunDir(path)
    found = None if "/" in text else _by_name(text, elsewhere())
    if found is None:
        raise InputError(_not_found(text, candidates))
    return found


def _by_name(name: str, folder: Path | None) -> RunDir | None:
    """Raises InputError where several runs that lie elsewhere have that name: nothing is done to one by a guess."""
    if folder and is_file(RunDir(folder / name).plan):
        return RunDir(folder / name)
    from launcher.runs.index import noted_runs

    runs = [run for run in noted_runs() if run.name == name]
    if len(runs) > 1:
        paths = "\n".join(f"  {run.path}" for run in runs)
        raise InputError(
            f"{name}: there are several runs of this name, none of them here; give the path of one:\n{paths}"
        )
    return runs[0] if runs else None


def _not_found(text: str, candidates: list[Path]) -> str:
    path = candidates[0]
    if "://" in text:
        return (
            f"{text}: is a URL; RUN is a run directory, or a run's name (results in stores: launcher.results.open(URL))"
        )
    if path.is_file():
        return f"{text}: is a file; RUN is a run directory such as runs/NAME, a run's name, or its config (.yaml)"
    found = next((run for run in map(RunDir, candidates) if exists(run.manifest)), None)
    if found and found.submission_numbers():
        return f"{text}: its {found.plan.name} is gone, without which nobody knows what it computed: bring back a copy"
    if found:
        return f"{text}: its planning was interrupted (there is no plan.json); run `launcher plan CONFIG` again"
    if path.is_dir():
        return f"{text}: not a run directory (it has no plan.json); valid: runs/NAME, or a run's name"
    folder = path.parent if "/" in text else RUNS_FOLDER
    names = [run.name for run in list_runs(folder)]
    close = nearest(path.name, names, most=3, cutoff=0.5)
    close = close or ([] if "/" in text else nearest(text, _noted_names(), most=3, cutoff=0.7))
    listed = ", ".join(close or names[:5]) or "none"
    hint = "did you mean" if close else "the runs there"
    return f"{text}: no such run, neither here nor below {folder.absolute()}; {hint}: {listed}; of yours: launcher list --all"


def _noted_names() -> set[str]:
    """Of all that this user has planned."""
    from launcher.runs.index import noted_runs

    return {run.name for run in noted_runs()}


def list_runs(folder: Path) -> list[RunDir]:
    """The runs of a folder, the one planned or submitted last first; none where the folder does not exist."""
    if not folder.is_dir():
        return []
    # Hidden ones are on their way: planning has not put them in their place yet, or is removing them.
    return newest_first(RunDir(path) for path in folder.iterdir() if not path.name.startswith("."))


def newest_first(runs: Iterable[RunDir]) -> list[RunDir]:
    """Those that are there, by their last change."""
    changed = {run: last_change(run) for run in runs}
    known = {run: at for run, at in changed.items() if at is not None}
    return sorted(known, key=known.__getitem__, reverse=True)


def last_change(run: RunDir) -> float | None:
    """When it was planned or submitted last; None where there is no run, or one that is not for this user's eyes."""
    try:
        planned = run.plan.stat().st_mtime
    except OSError:
        return None
    try:
        return max(planned, run.submissions.stat().st_mtime)
    except OSError:
        return planned


def reference(run: RunDir) -> str:
    """The shortest RUN argument that finds this run from here, quoted for a shell."""
    path = run.path.absolute()
    if path.parent == RUNS_FOLDER.absolute() and not Path(run.name).exists():
        return shlex.quote(run.name)
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
