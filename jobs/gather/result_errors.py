"""ResultErrors: the failed samples of a result, from that file alone."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jobs.errors import DamageError, InputError
from jobs.gather.result_file import ResultFile
from jobs.gather.result_index import indexed_files, located, problem
from jobs.storage.seals import HDF5, read_seal

_ROWS = 4096


class ResultError(NamedTuple):
    """A failed sample as /errors has it, with its id."""

    id: str
    row: int
    kind: str
    message: str
    attempts: int


def read_result_errors(path: Path) -> Iterator[ResultError]:
    """In the order of rows, some thousands in memory at a time; of a result in several files from each of them.

    Raises InputError where the file is no result, DamageError where it, or one of several, is not as it was.
    """
    files, seal = indexed_files(path), read_seal(path) or ""
    for file in files:
        if found := problem(file, seal):
            raise DamageError(found)
        yield from (error._replace(row=file.start + error.row) for error in _of_file(located(file.path)))
    if not files:
        yield from _of_file(path)


def _of_file(path: Path) -> Iterator[ResultError]:
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            raise InputError(f"{path}: not a result (no HDF5 file); valid: a result.h5, or a run")
    with ResultFile.opened(path) as result:
        if "errors/row" not in result.places:
            raise InputError(f"{path}: an HDF5 file, but not a result of `launcher gather`")
        count = result.places["errors/row"].shape[0]
        for start in range(0, count, _ROWS):
            yield from _some(result, start, min(start + _ROWS, count))


def _some(result: ResultFile, start: int, stop: int) -> Iterator[ResultError]:
    rows = result.read("errors/row", start, stop).tolist()
    kinds, messages = _strings(result, "errors/kind", start, stop), _strings(result, "errors/message", start, stop)
    attempts = result.read("errors/attempts", start, stop).tolist()
    for row, kind, message, tried in zip(rows, kinds, messages, attempts, strict=True):
        yield ResultError(_id(result, row), row, kind, message, tried)


def _id(result: ResultFile, row: int) -> str:
    if "id" in result.places:
        return str(result.read("id", row, row + 1)[0])
    return next(_strings(result, "id", row, row + 1))


def _strings(result: ResultFile, name: str, start: int, stop: int) -> Iterator[str]:
    ends = result.read(f"{name}/offsets", start, stop + 1).tolist()
    text = result.read(f"{name}/values", ends[0], ends[-1]).tobytes()
    for first, last in itertools.pairwise(ends):
        yield text[first - ends[0] : last - ends[0]].decode("utf-8", "replace")
