"""NewFolder: a folder of files that is there whole or not at all."""

import glob
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Self

from jobs.errors import InputError
from jobs.storage.files import fsync_file, fsync_folder, temporary_name
from jobs.storage.locks import create_locked, try_lock

_LOCK = ".lock"


class NewFolder:
    """A folder on its way to ``path``; until it is published all is in ``temporary``, beside that."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where something is there already. Removes what killed ones have left."""
        if path.exists():
            raise InputError(f"{path}: is there already, and is not replaced; remove it, or give another path")
        make_folder(path.parent)
        _remove_abandoned(path)
        self.path = path
        lock, self._descriptor = create_locked(partial(_make, path))
        self.temporary = lock.parent

    def publish(self) -> None:
        """Gives it its name: all that is in it is on disk before. Raises InputError where something took its place."""
        for folder, _, names in os.walk(self.temporary, topdown=False):
            for name in names:
                fsync_file(Path(folder, name))
            fsync_folder(Path(folder))
        try:
            os.rename(self.temporary, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: something was put there meanwhile ({error.strerror})") from error
        fsync_folder(self.path.parent)
        (self.path / _LOCK).unlink()  # not before: by it others see of one who is killed that his folder is abandoned

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        shutil.rmtree(self.temporary, ignore_errors=True)


def make_folder(path: Path) -> None:
    """With those above it, where they are not there. Raises InputError where a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"{path}: cannot be a folder ({error.strerror}: {error.filename}); give another path"
        ) from None


def _make(path: Path) -> Path:
    """The lock in a new folder beside ``path``."""
    folder = temporary_name(path)
    folder.mkdir()
    return folder / _LOCK


def _remove_abandoned(path: Path) -> None:
    """What others have left whose lock is free; where there are no locks nobody can tell, and all is left alone."""
    for other in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}.tmp"):
        try:
            descriptor = os.open(other / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        if try_lock(descriptor):
            shutil.rmtree(other, ignore_errors=True)
        os.close(descriptor)
