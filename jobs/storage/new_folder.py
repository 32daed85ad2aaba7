"""NewFolder: a folder of files that is there whole or not at all."""

import glob
import os
import shutil
from pathlib import Path
from typing import Self

from jobs.errors import InputError
from jobs.storage.files import fsync_file, fsync_folder, has_name, temporary_name, try_lock

_LOCK = ".lock"


class NewFolder:
    """A folder on its way to ``path``; until it is published all is in ``temporary``, beside that."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where something is there already. Removes what killed ones have left."""
        if path.exists():
            raise InputError(f"{path}: is there already, and is not replaced; remove it, or give another path")
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        self.path = path
        self.temporary, self._descriptor = _create_locked(path)

    def publish(self) -> None:
        """Gives it its name: all that is in it is on disk before. Raises InputError where something took its place."""
        (self.temporary / _LOCK).unlink()
        for folder, _, names in os.walk(self.temporary, topdown=False):
            for name in names:
                fsync_file(Path(folder, name))
            fsync_folder(Path(folder))
        try:
            os.rename(self.temporary, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: something was put there meanwhile ({error.strerror})") from error
        fsync_folder(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        shutil.rmtree(self.temporary, ignore_errors=True)


def _create_locked(path: Path) -> tuple[Path, int]:
    while True:
        mine = temporary_name(path)
        mine.mkdir()
        descriptor = os.open(mine / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if try_lock(descriptor) is not False and has_name(descriptor, mine / _LOCK):
            return mine, descriptor
        os.close(descriptor)  # before it was locked, somebody took it for abandoned


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
