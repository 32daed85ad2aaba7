"""Results: an opened result: columns by name, wherever their rows lie."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jobs import extras
from jobs.errors import InputError
from jobs.storage.records import Output
from launcher.results.ragged import BLOCK, Ragged
from launcher.results.table import Table

if TYPE_CHECKING:
    import pandas as pd


class Results:
    """An open result. Rows are in manifest order; rows that are not ok hold NaN or 0, or have length 0.

    It maps the names of columns ("id", "status" and the outputs) to their values, as a DataFrame does: ``name in results``,
    ``list(results)`` and ``dict(results)`` are of columns, ``len(results)`` counts the rows.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        """What holds its rows."""
        self.path: Path | str = table.path
        """The file or the run, or the URL."""

    def close(self) -> None:
        self.table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Results({str(self.path)!r}, {len(self)} rows, outputs: {', '.join(self.outputs)})"

    @property
    def complete(self) -> bool:
        """Whether no sample is missing; failed ones, within the budget of their shard, may be there."""
        return self.table.complete

    @property
    def shortfall(self) -> str:
        """What keeps it from being complete, in words, with what to do."""
        return self.table.shortfall

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The plan, config, environment, git state, submissions and software versions behind the result."""
        return self.table.provenance()

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the Job's outputs, sorted."""
        return tuple(self.table.outputs)

    @cached_property
    def ids(self) -> np.ndarray:
        """Ids of the samples [rows]: int64 row numbers, or an object array of str."""
        return self.table.ids(0, len(self))

    @cached_property
    def status(self) -> np.ndarray:
        """uint8 [rows]: MISSING, OK or FAILED."""
        return self.table.status(0, len(self))

    @cached_property
    def errors(self) -> "pd.DataFrame":
        """Failed samples: row, id, kind, message, attempts (how often each was tried). Raises InputError without pandas."""
        _need_pandas()
        import pandas as pd

        found = self.table.errors()
        columns = {"row": found["row"], "id": np.asarray(self.ids)[found["row"]]}
        return pd.DataFrame({**columns, **{name: found[name] for name in ("kind", "message", "attempts")}})

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the Job's ``finish`` returned: name -> array, number or str."""
        return self.table.summary()

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
        if self.output(name).ragged:
            return Ragged(self.table.ragged(name))
        return self.table.fixed(name)[()]

    def dataset(self, name: str) -> Any:
        """A fixed output of which slices can be read: h5py's dataset, or one like it. Raises KeyError for others."""
        if self.output(name).ragged:
            raise KeyError(f"{name!r} is of variable length: results[{name!r}] reads single rows and slices of it")
        return self.table.fixed(name)

    def output(self, name: str) -> Output:
        """Dtype, shape and kind of an output; raises KeyError where there is none of this name."""
        if name not in self.table.outputs:
            raise KeyError(f"no output {name!r}; the outputs are: {', '.join(self.outputs) or 'none'}")
        return self.table.outputs[name]

    def blocks(self, rows: int = BLOCK, columns: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
        """All rows, at most ``rows`` at a time: column name -> values, as ``to_pandas`` names the columns.

        Values are arrays [n, *shape] of fixed outputs, lists of n rows of variable-length ones. Raises ValueError where
        ``rows`` is below 1.
        """
        if rows < 1:
            raise ValueError(f"blocks of {rows} rows: must be 1 or more")
        return self._blocks(rows, self._columns(columns))

    def _blocks(self, rows: int, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        read = {name: self._reader(name) for name in names}
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            yield {name: read[name](start, stop) for name in names}

    def _reader(self, name: str) -> Callable[[int, int], Any]:
        """Gives rows ``[start, stop)`` of a column."""
        if name in ("id", "status"):
            return self.table.ids if name == "id" else self.table.status
        column = self[name] if self.output(name).ragged else self.dataset(name)
        return lambda start, stop: column[start:stop]

    def _columns(self, columns: Iterable[str] | None) -> list[str]:
        known = list(self.keys())
        if isinstance(columns, str):
            raise TypeError(f"columns={columns!r}: give a list of names, [{columns!r}]")
        names = known if columns is None else list(columns)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise KeyError(f"no column {unknown[0]!r}; the columns are: {', '.join(known)}")
        return names

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


def _need_pandas() -> None:
    """Pandas is no part of a plain install; raises InputError where it is missing."""
    if extras.missing("pandas"):
        way = extras.how_to_install("pandas")
        raise InputError(f"a table needs pandas: {way}. Without it: results[NAME], or blocks() for all columns")
