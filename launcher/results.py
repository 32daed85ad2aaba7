"""Results: a run's result.h5 open for analysis, in users' scripts and notebooks.

    from launcher import results

    with results.open("runs/docstrings") as found:
        found["embedding"]               # float32 [rows, 384]
        found["tokens"][7]               # one row of a variable-length output
        found.to_pandas(["id", "label"])

A run of several manifests has a result of each: ``results.open("runs/docstrings", manifest="train")``.
Plain h5py reads the file too; the names below are those of its datasets.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jobs import extras
from jobs.errors import DamageError, IncompleteError, InputError, RunError
from jobs.gather.result_file import FAILED, MISSING, OK
from jobs.storage.outputs import NOT_OUTPUTS
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.seals import HDF5
from launcher.ragged import BLOCK, Ragged, gathered_at, is_ragged
from launcher.runs.find import find_run
from launcher.runs.submissions import chosen_output, read_submissions

if TYPE_CHECKING:
    import h5py
    import pandas as pd

__all__ = ["FAILED", "MISSING", "OK", "Ragged", "Results", "open", "result_path"]


def open(  # noqa: A001 - it is read as results.open
    path: str | Path, *, manifest: str | None = None, allow_incomplete: bool = False
) -> "Results":
    """Opens a result.h5, or the result of a run, given as run directory or name; of several, that of ``manifest``.

    Raises IncompleteError where samples are missing and ``allow_incomplete`` is not set, RunError where the run has no
    result yet or another run's is in its place, InputError where there is no such run or manifest or the file is no result,
    DamageError where it cannot be read.
    """
    file, run = Path(path), None
    if file.is_file() and manifest is not None:
        raise InputError(f"{file}: is one result; manifest= chooses among those of a run")
    if not file.is_file():
        run = find_run(str(path))
        file = result_path(run, manifest)
        if not file.is_file():
            raise RunError(f"{file}: there is no result yet; `launcher gather {run.path}` makes it")
    results = Results(file)
    if run and (owner := _other_owner(results, Plan.read(run.plan), manifest)):
        results.close()
        raise RunError(
            f"{file}: holds the result of another run now, {owner}; `launcher gather {run.path}` makes this run's again, in "
            "its place: give each run an output.path of its own"
        )
    if not results.complete and not allow_incomplete:
        missing, rows = int(np.count_nonzero(results.status == MISSING)), len(results)
        results.close()
        raise IncompleteError(
            f"{file}: not complete, {missing} of {rows} samples have no result. `launcher rerun` and `launcher gather` "
            "complete it; open(path, allow_incomplete=True) takes it as it is"
        )
    return results


def _other_owner(results: "Results", plan: Plan, manifest: str | None) -> str | None:
    """The run whose result it is, by name, and manifest, where these are not ours."""
    theirs = results.provenance
    part = theirs.get("part", {}).get("name")
    if (theirs.get("fingerprint"), part) == (plan.fingerprint, manifest):
        return None
    return f"{theirs.get('name')!r}" + (f" (manifest {part!r})" if part else "")


def result_path(run: RunDir, manifest: str | None = None) -> Path:
    """Where the result of a run (and manifest) is, or will be: where its newest submission wants it. Raises InputError."""
    plan = Plan.read(run.plan)
    if manifest is not None:
        plan.part(manifest)
    elif plan.parts:
        names = ", ".join(repr(part.name) for part in plan.parts)
        raise InputError(f"{run.path}: has a result of each manifest; give manifest=, one of {names}")
    return run.result_of(manifest, chosen_output(read_submissions(run)))


class Results:
    """An open result. Rows are in manifest order; rows that are not ok hold NaN or 0, or have length 0.

    It maps the names of columns ("id", "status" and the outputs) to their values, as a DataFrame does: ``name in results``,
    ``list(results)`` and ``dict(results)`` are of columns, ``len(results)`` counts the rows.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError where the file is no result, DamageError where HDF5 cannot read it."""
        import h5py

        self.path = path
        try:
            # Without HDF5's locks, which some network file systems refuse: a result that is there is never written to.
            self._file = h5py.File(path, "r", locking=False)
            self._file.visititems(lambda name, item: None)  # opens all that is there: damage shows now, and not later
            is_result = "complete" in self._file.attrs and "status" in self._file
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            with path.open("rb") as file:
                if file.read(len(HDF5)) != HDF5:
                    raise InputError(f"{path}: not a result (no HDF5 file); valid: a result.h5, or a run") from None
            raise DamageError(f"{path}: HDF5 cannot read it ({error}); `launcher gather` makes it again") from error
        if not is_result:
            self.close()
            raise InputError(f"{path}: an HDF5 file, but not a result of `launcher gather`")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> "tuple[Callable[..., Results], tuple[Path, float | None]]":
        """In another process (a DataLoader's worker) it is the same file, which is opened there."""
        return _reopened, (self.path.absolute(), gathered_at(self._file))

    def __len__(self) -> int:
        return int(self._file["status"].shape[0])

    def __repr__(self) -> str:
        return f"Results({str(self.path)!r}, {len(self)} rows, outputs: {', '.join(self.outputs)})"

    @property
    def complete(self) -> bool:
        """Whether no sample is missing; failed ones, within the budget of their shard, may be there."""
        return bool(self._file.attrs["complete"])

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The plan, config, environment, git state, submissions and software versions behind the result."""
        try:
            found: dict[str, Any] = json.loads(self._file.attrs["provenance"])
        except (ValueError, KeyError) as error:
            raise DamageError(f"{self.path}: its provenance is damaged; `launcher gather` makes it again") from error
        return found

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the Job's outputs, sorted."""
        return tuple(name for name in sorted(self._file) if name not in NOT_OUTPUTS)

    @cached_property
    def ids(self) -> np.ndarray:
        """Ids of the samples [rows]: int64 row numbers, or an object array of str."""
        return self._ids(0, len(self))

    @cached_property
    def status(self) -> np.ndarray:
        """uint8 [rows]: MISSING, OK or FAILED."""
        return np.asarray(self._file["status"][()])

    @cached_property
    def errors(self) -> "pd.DataFrame":
        """Failed samples: row, id, kind, message, attempts (how often each was tried). Raises InputError without pandas."""
        _need_pandas()
        import pandas as pd

        group = self._file["errors"]
        rows = group["row"][()]
        ids = np.asarray(self.ids)[rows]
        kind, message = Ragged(group["kind"])[:], Ragged(group["message"])[:]
        return pd.DataFrame(
            {"row": rows, "id": ids, "kind": kind, "message": message, "attempts": group["attempts"][()]}
        )

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the Job's ``finish`` returned: name -> array, number or str."""
        import h5py

        items = self._file["summary"].items()
        return {name: (item.asstr() if h5py.check_string_dtype(item.dtype) else item)[()] for name, item in items}

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def keys(self) -> tuple[str, ...]:
        """The names of all columns, as ``to_pandas`` has them."""
        return "id", "status", *self.outputs

    def values(self) -> Iterator[Any]:
        return (self[name] for name in self.keys())

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((name, self[name]) for name in self.keys())

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        """A fixed output as an array [rows, *shape], read whole; a variable-length one as Ragged; "id" and "status" too."""
        if name in ("id", "status"):
            return self.ids if name == "id" else self.status
        item = self._output(name)
        return Ragged(item) if is_ragged(item) else item[()]

    def dataset(self, name: str) -> "h5py.Dataset":
        """The HDF5 dataset of a fixed output, of which slices can be read; raises KeyError for others."""
        item = self._output(name)
        if is_ragged(item):
            raise KeyError(f"{name!r} is of variable length: results[{name!r}] reads single rows and slices of it")
        return item

    def _output(self, name: str) -> Any:
        if name not in self.outputs:
            raise KeyError(f"no output {name!r}; the outputs are: {', '.join(self.outputs) or 'none'}")
        return self._file[name]

    def blocks(self, rows: int = BLOCK, columns: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
        """All rows, at most ``rows`` at a time: column name -> values, as ``to_pandas`` names the columns.

        Values are arrays [n, *shape] of fixed outputs, lists of n rows of variable-length ones. Raises ValueError where
        ``rows`` is below 1.
        """
        if rows < 1:
            raise ValueError(f"blocks of {rows} rows: must be 1 or more")
        return self._blocks(rows, self._columns(columns))

    def _blocks(self, rows: int, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        ragged = {name: self[name] for name in names if name in self.outputs and is_ragged(self._file[name])}
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield {name: self._block(name, ragged, start, stop) for name in names}

    def _columns(self, columns: Iterable[str] | None) -> list[str]:
        known = list(self.keys())
        if isinstance(columns, str):
            raise TypeError(f"columns={columns!r}: give a list of names, [{columns!r}]")
        names = known if columns is None else list(columns)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise KeyError(f"no column {unknown[0]!r}; the columns are: {', '.join(known)}")
        return names

    def _block(self, name: str, ragged: Mapping[str, Ragged], start: int, stop: int) -> Any:
        if name == "id":
            return self._ids(start, stop)
        return ragged[name][start:stop] if name in ragged else self._file[name][start:stop]

    def _ids(self, start: int, stop: int) -> np.ndarray:
        item = self._file["id"]
        if not is_ragged(item):
            return np.asarray(item[start:stop])
        ids = np.empty(stop - start, object)
        ids[:] = self._id_strings[start:stop]
        return ids

    @cached_property
    def _id_strings(self) -> Ragged:
        return Ragged(self._file["id"])

    def to_pandas(self, columns: Iterable[str] | None = None) -> "pd.DataFrame":
        """A row a sample, with columns ``id``, ``status`` and the outputs, or those asked for.

        Cells of outputs with more than one number a sample are arrays, those of variable-length ones lists (or str,
        bytes). All of it is read into memory. Raises InputError where pandas is not installed.
        """
        _need_pandas()
        import pandas as pd

        whole = next(self.blocks(max(len(self), 1), columns), None)
        if whole is None:
            return pd.DataFrame({name: [] for name in self._columns(columns)})
        for name, values in whole.items():
            if isinstance(values, list):
                whole[name] = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
            elif values.ndim > 1:
                whole[name] = list(values)
        return pd.DataFrame({name: pd.Series(cells) for name, cells in whole.items()})


def _reopened(path: Path, gathered: float | None) -> Results:
    """Raises RunError where the result has been made again since."""
    found = Results(path)
    if gathered_at(found._file) != gathered:
        found.close()
        raise RunError(f"{path}: was gathered again since it was opened: open it anew")
    return found


def _need_pandas() -> None:
    """Pandas is no part of a plain install; raises InputError where it is missing."""
    if extras.missing("pandas"):
        way = extras.how_to_install("pandas")
        raise InputError(f"a table needs pandas: {way}. Without it: results[NAME], or blocks() for all columns")
