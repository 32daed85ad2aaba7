"""NewResult: the file that becomes a result, until it has that name. Whoever is killed leaves it; the next one removes it."""

import glob
import os
import time
from functools import partial
from pathlib import Path
from typing import Self

from jobs.errors import BusyError
from jobs.storage.files import rename_synced
from jobs.storage.locks import create_locked, has_name, is_locked, try_lock

# Seconds between two signs of life.
_SIGN = 10.0
# Seconds for another one, that began at the same moment, to see who goes on.
_WAY = 2.0


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
        for other, is_at_work in _others(path).items():
            if is_at_work:
                raise _busy(path, other)
        super().__init__(path)
        try:
            is_alone = not self._give_way()
        except BaseException:
            self.__exit__()
            raise
        self._shown = time.monotonic()
        self.has_locks = try_lock(self.descriptor) is True and is_alone
        """Whether what others have left here can be told from what they are at."""

    def _give_way(self) -> bool:
        """Looks again, now that our file can be seen; returns whether there is any other, at work or not, for all we can tell.

        Of two that had both looked before, the one with the first name goes on as soon as the other has seen that, and gone.
        One that does not go was through with this before we came.
        """
        until = time.monotonic() + _WAY
        while True:
            others = _others(self.path, self.temporary)
            at_work = sorted(other for other, is_at_work in others.items() if is_at_work)
            if not at_work:
                return bool(others)
            if at_work[0] < self.temporary or time.monotonic() > until:
                raise _busy(self.path, at_work[0])
            time.sleep(0.01)

    def show(self) -> None:
        """Lets those who wait see, now and then, that it goes on: they look at this file while several others are made."""
        if time.monotonic() - self._shown >= _SIGN:
            os.utime(self.descriptor)
            self._shown = time.monotonic()


def temporary_result(path: Path) -> Path:
    """A name beside a result, by chance. Each process has a file of its own: where locks keep nobody out, nothing is mixed."""
    return path.with_name(f".{path.stem}.{os.urandom(4).hex()}.part{path.suffix}")


def _busy(path: Path, other: Path) -> BusyError:
    return BusyError(f"{path}: another process is gathering this result now; wait for it", other)


def _others(path: Path, own: Path | None = None) -> dict[Path, bool]:
    """The files of others, and whether each is at work, as far as that can be told; what killed ones have left is removed.

    Where there are no locks, or another user keeps his file to himself, nobody can tell, and it is left alone.
    """
    name = f".{glob.escape(path.stem)}.{'[0-9a-f]' * 8}.part{glob.escape(path.suffix)}"
    found = {}
    for other in path.parent.glob(name):
        try:
            if other == own or (is_free := _make_free(other)):
                continue
        except FileNotFoundError:
            continue
        except PermissionError:
            is_free = None
        found[other] = is_free is False
    return found


def _make_free(other: Path) -> bool | None:
    """Removes it, if it may, where nobody is at work at it; False where somebody is, None where that cannot be told."""
    try:
        descriptor, is_ours = os.open(other, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), True
    except PermissionError:  # of another user, as a rule: he may let us read it
        descriptor, is_ours = os.open(other, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), False
    try:
        if not is_ours:
            return None if (locked := is_locked(descriptor)) is None else not locked
        if is_free := try_lock(descriptor):
            other.unlink(missing_ok=True)
        return is_free
    finally:
        os.close(descriptor)
