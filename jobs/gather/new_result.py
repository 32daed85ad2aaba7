"""NewResult: the file that becomes a result, until it has that name. Whoever is killed leaves it; the next one removes it."""

import glob
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from jobs.errors import BusyError
from jobs.storage.files import create_locked, has_name, rename_synced, try_lock

# Seconds between two signs of life.
_SIGN = 10.0


class NewFile:
    """A file of the result at ``path`` on its way: written at ``temporary``, by that name or by its ``descriptor``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary, self.descriptor = create_locked(partial(temporary_result, path))
        self._is_published = False

    def check(self) -> None:
        """Raises BusyError where another process took it for abandoned, and so makes one itself."""
        if not has_name(self.descriptor, self.temporary):
            text = f"{self.path}: another process has begun to gather this result anew; wait for it"
            raise BusyError(text, self.path)

    def publish(self, name: Path | None = None) -> None:
        """Gives it its name, that of the result if it is no other. Raises as ``check`` does."""
        self.check()
        rename_synced(self.temporary, name or self.path)
        self._is_published = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        if not self._is_published:
            self.temporary.unlink(missing_ok=True)


class NewResult(NewFile):
    """The file that becomes the result, or its index; while it is there, others see that the result is being made."""

    def __init__(self, path: Path) -> None:
        """Raises BusyError where another process is making the same result."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_others(path, lambda other: True)
        super().__init__(path)
        try:
            # Again, now that ours can be seen: of two that had both looked before, the one with the first name goes on.
            _refuse_others(path, lambda other: other.name < self.temporary.name)
        except BaseException:
            self.__exit__()
            raise
        self._shown = time.monotonic()
        self.has_locks = try_lock(self.descriptor) is True

    def show(self) -> None:
        """Lets those who wait see, now and then, that it goes on: they look at this file while several others are made."""
        if time.monotonic() - self._shown >= _SIGN:
            os.utime(self.descriptor)
            self._shown = time.monotonic()


def temporary_result(path: Path) -> Path:
    """A name beside a result, by chance. Each process has a file of its own: where locks keep nobody out, nothing is mixed."""
    return path.with_name(f".{path.stem}.{os.urandom(4).hex()}.part{path.suffix}")


def _refuse_others(path: Path, is_before: Callable[[Path], bool]) -> None:
    """Raises BusyError where others are at work that come before us; removes what killed ones have left.

    Where there are no locks nobody can tell these apart, and all are left alone.
    """
    name = f".{glob.escape(path.stem)}.{'[0-9a-f]' * 8}.part{glob.escape(path.suffix)}"
    for other in path.parent.glob(name):
        try:
            descriptor = os.open(other, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, PermissionError):  # of another user, too: nothing of ours is in it
            continue
        try:
            is_free = try_lock(descriptor) if is_before(other) else None
            if is_free:
                with suppress(FileNotFoundError, PermissionError):
                    other.unlink()
        finally:
            os.close(descriptor)
        if is_free is False:
            raise BusyError(f"{path}: another process is gathering this result now; wait for it", other)
