"""Results: what a run has computed, open for analysis, in users' scripts and notebooks.

    from launcher import results

    with results.open("runs/docstrings") as found:
        found["embedding"]               # float32 [rows, 384]
        found["tokens"][7]               # one row of a variable-length output
        found.to_pandas(["id", "label"])

A run of several manifests has a result of each: ``results.open("runs/docstrings", manifest="train")``. What a run without
result.h5 has stored is read where it lies. Plain h5py reads that file too; the names are those of its datasets.
"""

from collections.abc import Iterable
from pathlib import Path

from jobs.errors import IncompleteError, InputError, RunError
from jobs.gather.result_file import FAILED, MISSING, OK
from jobs.references.stores import is_url
from jobs.storage.files import exists
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.results.ragged import Ragged
from launcher.results.result_dataset import ResultDataset
from launcher.results.results import Results
from launcher.results.split_table import open_result
from launcher.runs.find import find_run
from launcher.runs.result_place import ResultPlace, result_places
from launcher.runs.submissions import read_submissions

__all__ = ["FAILED", "MISSING", "OK", "Ragged", "ResultDataset", "Results", "dataset", "open", "result_path"]


def open(  # noqa: A001 - it is read as results.open
    path: str | Path, *, manifest: str | None = None, allow_incomplete: bool = False, in_place: bool = False
) -> Results:
    """Opens a result.h5, or the result of a run, given as run directory or name; of several, that of ``manifest``.

    ``path`` may be the URL of a result in a store (s3://bucket/result.h5), and that of a run may be in one: it is copied to
    TMPDIR first, whole, for as long as it is open.

    Where a run has no such file, or with ``in_place``, what its attempts have stored is read where it lies; each block of
    it is hashed when it is touched first.

    Raises IncompleteError where samples are missing and ``allow_incomplete`` is not set, RunError where another run's result
    is in the place of the run's, InputError where there is no such run or manifest or the file is no result, DamageError
    where it cannot be read.
    """
    results = _open_file(path, manifest, in_place) or _open_run(find_run(str(path)), manifest, in_place)
    if not results.complete and not allow_incomplete:
        shortfall = results.shortfall
        results.close()
        raise IncompleteError(f"{shortfall}; open(path, allow_incomplete=True) takes it as it is")
    return results


def dataset(
    path: str | Path,
    columns: Iterable[str] | None = None,
    *,
    manifest: str | None = None,
    allow_incomplete: bool = False,
    in_place: bool = False,
    only_ok: bool = True,
) -> ResultDataset:
    """The samples of a result for torch's DataLoader: those that are ok, or all; opened, and refused, as ``open`` does.

    ``columns``: outputs, "id", "status"; None: all outputs.
    """
    found = open(path, manifest=manifest, allow_incomplete=allow_incomplete, in_place=in_place)
    return ResultDataset(found, columns, only_ok=only_ok)


def _open_file(path: str | Path, manifest: str | None, in_place: bool) -> Results | None:
    is_in_store = isinstance(path, str) and is_url(path)
    if not (is_in_store or Path(path).is_file()):
        return None
    if manifest is not None:
        raise InputError(f"{path}: is one result; manifest= chooses among those of a run")
    if in_place:
        raise InputError(f"{path}: is a result; in_place= reads what a run has stored: give the run")
    if is_in_store:
        from launcher.results.staged import open_url

        return open_url(str(path))
    return Results(open_result(Path(path)))


def _open_run(run: RunDir, manifest: str | None, in_place: bool) -> Results:
    place = _place(run, manifest)
    path = place.shown
    if exists(run.cleaned):
        in_place = False
        if not place.exists:
            raise RunError(f"{path}: is gone, and {run.path} was cleaned: bring back a copy of it")
    if in_place or place.is_folder or not place.exists:
        from launcher.results.stored_table import StoredTable

        return Results(StoredTable(run.path, manifest))
    results = _open_place(place)
    if owner := _other_owner(results, Plan.read(run.plan), manifest):
        results.close()
        raise RunError(
            f"{path}: holds the result of another run now, {owner}; `launcher gather {run.argument}` makes this run's again, "
            "in its place: give each run an output.path of its own"
        )
    return results


def _open_place(place: ResultPlace) -> Results:
    if place.delivered is None:
        return Results(open_result(place.path))
    from launcher.results.staged import open_url

    return open_url(place.url, place.delivered.files)


def _other_owner(results: Results, plan: Plan, manifest: str | None) -> str | None:
    """The run whose result it is, by name, and manifest, where these are not ours."""
    theirs = results.provenance
    part = theirs.get("part", {}).get("name")
    if (theirs.get("fingerprint"), part) == (plan.fingerprint, manifest):
        return None
    return f"{theirs.get('name')!r}" + (f" (manifest {part!r})" if part else "")


def result_path(run: RunDir, manifest: str | None = None) -> Path | str:
    """Where the result of a run (and manifest) is, or will be: where its newest submission wants it; of a store the URL.

    Raises InputError where there is no such manifest.
    """
    return _place(run, manifest).shown


def _place(run: RunDir, manifest: str | None) -> ResultPlace:
    plan = Plan.read(run.plan)
    if manifest is not None:
        plan.part(manifest)
    elif plan.parts:
        names = ", ".join(repr(part.name) for part in plan.parts)
        raise InputError(f"{run.path}: has a result of each manifest; give manifest=, one of {names}")
    return next(one for one in result_places(run, plan, read_submissions(run)) if one.part.name == manifest)
