"""Sample columns: those of neighbouring rows of manifest.arrow, as Python objects once a sample asks for one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from jobs.references.references import Reference


class _Cells(Sequence[Any]):
    """A column with a cell that cannot become a Python object, as text that is not UTF-8: it fails its own sample alone."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, position: Any) -> Any:
        return self._column[position].as_py()


class SampleColumns(dict[str, Sequence[Any]]):
    """The columns of some rows; each becomes Python objects when a sample first asks for it.

    The values of ``references`` are read one by one, by the samples that ask for them.
    """

    def __init__(self, batch: pa.RecordBatch, references: Mapping[str, "Reference"]) -> None:
        self._batch = batch
        self._references = references

    def __missing__(self, name: str) -> Sequence[Any]:
        column = self._batch.column(name)  # KeyError where there is none such
        values: Sequence[Any]
        if reference := self._references.get(name):
            from jobs.references.references import Referred

            values = Referred(name, reference, column, [self[other] for other in reference.beside])
        else:
            try:
                values = column.to_pylist()
            except (ValueError, OverflowError):
                values = _Cells(column)
        self[name] = values
        return values


class MoreColumns(Protocol):
    """Columns of samples that are not in the manifest; ``batch`` are neighbouring rows of it. Raises OSError."""

    names: Sequence[str]

    def values(self, batch: pa.RecordBatch) -> Mapping[str, Sequence[Any]]:
        """By column, a value for each row."""

    def unreadable(self, batch: pa.RecordBatch) -> Mapping[int, BaseException]:
        """Which of the rows, counted from the first, have none, and why."""
