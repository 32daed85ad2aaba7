"""Objects of stores by their URLs (s3://, gs://, az://, http://), for Jobs: their bytes, or a copy on the node's own disk.

``pip install 'shardrun[remote]'``. Credentials come from the environment of the task.
"""

import fcntl
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from jobs.references.stores import copy_to, describe, is_url, local_path, read_all
from jobs.storage.locks import has_name, knows_flock

__all__ = ["Stage", "is_url", "read_all"]

# Of each process: copies that it was given last, which nobody removes; at most this part of all bytes, but one in any case.
_KEPT, _KEPT_PART = 64, 32
# Characters at the end of a URL, for people: file systems allow 255 bytes, and a character may be 4.
_TOLD = 50
_LOCK, _PART = ".lock", ".part"


class Stage:
    """Copies of objects in a folder of the node, made once for all workers that give the same folder, and not too many.

    The folder is best one of the task, ``context.scratch / "stage"``, and goes with it. Before there are more than
    ``most_bytes`` (default: half of what is free on that disk), what was not asked for lately is removed; but not the copy
    that a worker was given last, nor what it has had before that, up to 64 and a 32nd of ``most_bytes``. Where the file system
    knows no locks (flock), each worker has copies of its own, in a folder below, and removes what is its own.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._has_locks = knows_flock(folder)
        self._own = folder if self._has_locks else Path(tempfile.mkdtemp(prefix="own-", dir=folder))
        self._most_bytes = shutil.disk_usage(folder).free // 2 if most_bytes is None else most_bytes
        self._kept: OrderedDict[Path, int] = OrderedDict()

    def path(self, url: str) -> Path:
        """The object as a file, which nobody may change; of a path or a file:// URL, that path. Raises OSError."""
        if not is_url(url):
            return Path(local_path(url))
        path = self._own / f"{xxhash.xxh3_64_hexdigest(url.encode())}-{url.rpartition('/')[2][-_TOLD:]}"
        while not self._holds(path):
            self._fetch(url, path)
        self._kept.move_to_end(path)
        os.utime(path)  # when it was asked for last
        self._let_go()
        return path

    def _holds(self, path: Path) -> bool:
        """Holds a copy, by a shared lock, from now on if not before; False where there is none."""
        if path in self._kept:
            if has_name(self._kept[path], path):
                return True
            os.close(self._kept.pop(path))  # somebody tidies up here who heeds no lock
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if self._has_locks:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            if has_name(descriptor, path):  # it was not removed in between
                self._kept[path] = descriptor
                return True
            os.close(descriptor)
        return False

    def _let_go(self) -> None:
        """Of the copies that were asked for first, of those that are held."""
        sizes = {path: os.fstat(descriptor).st_size for path, descriptor in self._kept.items()}
        while len(sizes) > 1 and (len(sizes) > _KEPT or sum(sizes.values()) > self._most_bytes // _KEPT_PART):
            path = next(iter(sizes))
            del sizes[path]
            os.close(self._kept.pop(path))

    def _fetch(self, url: str, path: Path) -> None:
        """Makes a copy, whole or not at all; of several workers that want it one does, and the others wait for that one."""
        part = path.with_name(f".{path.name}{_PART}")
        with self._locked(path.with_name(f".{path.name}{_LOCK}"), fcntl.LOCK_EX):  # it ends with its process
            if path.exists():
                return
            try:
                size = describe(url).size
                self._make_room(size)
                with part.open("wb") as file:
                    file.truncate(size)  # so that others count it
                    copy_to(url, file)
                    file.truncate()
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        found = []
        for place, _, names in os.walk(self._folder):
            for path in (Path(place, name) for name in names):
                with suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = size + sum(one for _, one, _ in found)
        for _, one, path in sorted(found):
            if total <= self._most_bytes:
                return
            if path.suffix != _LOCK and path.parent == self._own:
                total -= one * self._removed(path)

    def _removed(self, path: Path) -> bool:
        """Removes a copy that nobody holds, or one on its way whose writer was killed."""
        if path in self._kept:
            return False
        lock = path.with_suffix(_LOCK) if path.suffix == _PART and path.name.startswith(".") else path
        try:
            with self._locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink()
                return True
        except (BlockingIOError, FileNotFoundError):
            return False

    @contextmanager
    def _locked(self, path: Path, how: int) -> Iterator[None]:
        if not self._has_locks:  # then nobody else is in its folder
            yield
            return
        # To be written, though nobody does: on NFS a lock for one alone needs that.
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if path.suffix == _LOCK else 0) | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Lets go of all copies: others may remove them."""
        while self._kept:
            os.close(self._kept.popitem()[1])
        if not self._has_locks:
            for path in self._own.iterdir():
                path.unlink(missing_ok=True)
