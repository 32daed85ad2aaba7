"""The index of a result in several files: which file has which rows; it stands in the place of the result.

    result.h5                    the index: /files, /summary, complete, provenance, seal
    result-3f9a2c-00000.h5 ...   rows 0 to n - 1 and so on, each a result by itself; the letters are of what all of them hold
    .result-3f9a2c-00000.h5 ...  so they are called until there is an index of them, and for a moment after that

Files of another result have other names, so a result stays whole until the index of the next one takes its place. A file
without the point belongs to an index, maybe to one that somebody has moved; one with it that no index names is left over.
"""

import glob
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jobs.errors import DamageError
from jobs.gather.hdf5_file import UNREADABLE, writing
from jobs.gather.result_file import begun
from jobs.storage.files import exists, fsync_folder, is_file
from jobs.storage.seals import read_seal, seal_of_rows

_REPLACES = "replaces"
_Read = TypeVar("_Read")
FILES = "files"
"""The dataset that only an index has."""
# So that the name of a file, as long as it is unfinished, is no longer than that of a result on its way.
TOKEN_LETTERS = 6
_TOKEN = f"[0-9a-f]{{{TOKEN_LETTERS}}}"


@dataclass(frozen=True)
class IndexedFile:
    """A file of a result, and which rows ``[start, stop)`` it has. Of a result that is one file, that and all rows."""

    path: Path
    start: int
    stop: int


def volume_path(path: Path, token: str, number: int) -> Path:
    """A file of the result at ``path``; all files of one result have the same token."""
    return path.with_name(f"{path.stem}-{token}-{number:05d}{path.suffix}")


def is_volume(path: Path) -> bool:
    """Whether a file has such a name: nothing else is ever removed, whatever a damaged index says."""
    return re.fullmatch(rf".*-{_TOKEN}-[0-9]{{5,}}", path.stem, re.DOTALL) is not None


def unfinished(path: Path) -> Path:
    """What a file is called until all others are whole, too."""
    return path.with_name(f".{path.name}")


def located(path: Path) -> Path:
    """Where a file is now: it may not have its name yet."""
    return path if exists(path) or not exists(unfinished(path)) else unfinished(path)


def read_at(path: Path, read: Callable[[Path], _Read]) -> _Read:
    """Reads a file that may not have its name yet, or be given it at this moment."""
    for place in (path, unfinished(path)):
        with suppress(FileNotFoundError):
            return read(place)
    return read(path)


def give_names(path: Path) -> None:
    """Gives all files of the result that is there their names, as far as whoever made them did not come to that."""
    files = [file.path for file in indexed_files(path) if is_volume(file.path)]
    for file in files:
        with suppress(FileNotFoundError):
            os.replace(unfinished(file), file)
    if files:
        fsync_folder(path.parent)


def named_files(path: Path, token: str) -> set[Path]:
    """The files beside a result that have this token in their names."""
    return set(path.parent.glob(f"{glob.escape(path.stem)}-{token}-*{glob.escape(path.suffix)}"))


def remove_unfinished(path: Path, token: str | None = None) -> None:
    """Removes what gathers that were killed have left of files without an index, but for those with this token."""
    name = re.compile(rf"\.{re.escape(path.stem)}-({_TOKEN})-[0-9]{{5,}}{re.escape(path.suffix)}")
    for left in path.parent.glob(f".{glob.escape(path.stem)}-*{glob.escape(path.suffix)}"):
        found = name.fullmatch(left.name)
        if found and found[1] != token:
            with suppress(FileNotFoundError, PermissionError):
                left.unlink()


def create_index(path: Path, files: Sequence[IndexedFile], provenance: Mapping[str, Any]) -> None:
    """Makes the index of files, without a summary, and not complete."""
    names = [os.fsencode(one.path.name) for one in files]
    kind = np.dtype([("name", f"S{max(map(len, names))}"), ("start", "<i8"), ("stop", "<i8")])
    rows = [(name, one.start, one.stop) for name, one in zip(names, files, strict=True)]
    with begun(path, provenance) as file:
        file.create_dataset(FILES, data=np.array(rows, kind), track_times=False)


def read_index(path: Path) -> tuple[IndexedFile, ...]:
    """The files of a result in several; none where the result is one file. Raises DamageError where HDF5 cannot read it."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            # A Job may have an output of that name, but no result is without a status.
            is_index = FILES in file and "status" not in file and "seal" in file.attrs
            rows = file[FILES][()].tolist() if is_index else []
        return tuple(IndexedFile(path.with_name(os.fsdecode(name)), start, stop) for name, start, stop in rows)
    except UNREADABLE as error:
        raise DamageError(f"{path}: HDF5 cannot read it: {error}") from error


def indexed_files(path: Path) -> tuple[IndexedFile, ...]:
    """Those of whatever is there now; none where that is no index, or nothing."""
    try:
        return read_index(path) if is_file(path) else ()
    except DamageError:
        return ()


def note_replaced(temporary: Path, replaced: Sequence[Path]) -> None:
    """Writes into a result on its way which files of the one before go with that, for whoever is killed before they have."""
    import h5py

    if replaced:
        with writing(temporary), h5py.File(temporary, "r+", locking=False) as file:
            file.attrs[_REPLACES] = json.dumps([path.name for path in replaced])


def read_replaced(path: Path) -> list[Path]:
    """What the result that is there now has replaced, and may not have been removed."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return [path.with_name(name) for name in json.loads(file.attrs.get(_REPLACES, "[]"))]
    except UNREADABLE:
        return []


def problem(file: IndexedFile, seal: str) -> str | None:
    """Why a file is not what an index with this seal ("": of a result that is not complete) says, as far as its head tells."""
    try:
        found = read_at(file.path, read_seal)
    except OSError as error:
        return f"{file.path}: {error.strerror}: it has rows {file.start}-{file.stop - 1} of the result"
    if found == (seal_of_rows(seal, file.start, file.stop) if seal else ""):
        return None
    return f"{file.path}: is no file of this result: it should have rows {file.start}-{file.stop - 1}"
