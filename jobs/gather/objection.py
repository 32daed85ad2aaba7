"""Objection: whether a result may be written at a path; asked when a run is planned, and again before it is written."""

import json
import os
from pathlib import Path
from typing import Any

from jobs.errors import LauncherError
from jobs.storage.files import exists
from jobs.storage.plans import Plan
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
    if not path.is_file() or path.is_relative_to(run.path):
        return None
    if not _is_result(path):
        return f"{path}: is there and is no result, so it is not replaced; move it away, or change output.path"
    return _of_another(path, run, is_new=is_new)


def _of_another(path: Path, run: RunDir, *, is_new: bool) -> str | None:
    """Says which run a result is of that must not be replaced: of one that was cleaned, or is gone, it is all that there is."""
    told = _provenance(path)
    folder = next((one["folder"] for one in reversed(told.get("submissions", ())) if one.get("folder")), None)
    if "name" not in told or (folder is None and not is_new) or (folder and _is_same(Path(folder), run.path)):
        return None
    other = RunDir(Path(folder)) if folder else None
    if other and _fingerprint(other) == told.get("fingerprint"):
        if not exists(other.cleaned):
            return None  # that one can write it again, and says meanwhile that it has none
        whose = str(other.path)
    elif told["name"] == run.name:  # it was moved, or planned again
        return None
    else:
        whose = f"{told['name']}, which is gone"
    return f"{path}: holds the result of run {whose}: give each run an output.path of its own, or move that file away"


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are of one folder, or would be."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.abspath(one) == os.path.abspath(other)


def _fingerprint(run: RunDir) -> str | None:
    """Of its plan, if it is there."""
    try:
        return Plan.read(run.plan).fingerprint
    except (LauncherError, OSError):
        return None


def _provenance(path: Path) -> dict[str, Any]:
    """Nothing of a result by an older version, or a damaged one."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            found: dict[str, Any] = json.loads(file.attrs["provenance"])
            return found
    except (OSError, KeyError, ValueError):
        return {}


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
