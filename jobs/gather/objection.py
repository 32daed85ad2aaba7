"""Objection: whether a result may be written at a path; asked when a run is planned, and again before it is written."""

from pathlib import Path

from jobs.storage.rundir import RunDir
from jobs.storage.seals import HDF5, read_seal


def objection(path: Path, run: RunDir, *, is_new: bool = False) -> str | None:
    """What speaks against the result of a run being there, with what to do; None where nothing does.

    A new run has it in no folder of its own, where older ones may.
    """
    files = (run.config, run.plan, run.manifest, run.report, run.layout)
    folders = (run.submissions, run.attempts, run.old_shards, run.logs)
    is_own = any(path.is_relative_to(own) for own in (*files, *folders))
    if is_own or (is_new and path.is_relative_to(run.path) and path.parent != run.path):
        return f"{path}: is of the run itself; the result may be beside it, as {run.result.name}"
    if path.is_dir():
        return f"is a folder: {path}; give the path of a file in it"
    if path.exists() and not path.is_file():
        return f"{path}: is a device or a pipe; give the path of a file"
    if path.is_file() and not path.is_relative_to(run.path) and not _is_result(path):
        return f"{path}: is there and is no result, so it is not replaced; move it away, or change output.path"
    return None


def holds_complete(path: Path) -> bool:
    """Whether a complete result is there, which a lesser one must not replace."""
    if not path.is_file():
        return False
    seal = read_seal(path)
    return bool(seal) if seal is not None else _says(path, "complete")


def _is_result(path: Path) -> bool:
    """Whether a gather has written it: somebody's own HDF5 file is not to be lost."""
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            return False
    return read_seal(path) is not None or _says(path)


def _says(path: Path, *facts: str) -> bool:
    """Whether a file is a result of a version without seals, of which these attributes are true."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return "complete" in file.attrs and "status" in file and all(file.attrs[fact] for fact in facts)
    except OSError:
        return False
