"""Objects of stores by their URLs (s3://, gs://, az://, http://), for Jobs: their bytes, or a copy on the node's own disk.

``pip install 'shardrun[remote]'``. Credentials come from the environment of the task.
"""

import fcntl
import os
import shutil
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import xxhash

from jobs.references.stores import copy_to, is_url, local_path, read_all
from jobs.storage.files import has_name, temporary_name

__all__ = ["Stage", "is_url", "read_all"]

# Of each process: copies that it was given last, which nobody removes.
_KEPT = 64


class Stage:
    """Copies of objects in a folder of the node, made once for all workers that give the same folder, and not too many.

    The folder is best one of the task, ``context.scratch / "stage"``, and goes with it. What was not asked for lately is
    removed before there is more than ``most_bytes`` (default: half of what is free on that disk), but not what one of the
    workers has had among its last 64: a path may be opened as long as that.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._most_bytes = shutil.disk_usage(folder).free // 2 if most_bytes is None else most_bytes
        self._kept: OrderedDict[Path, int] = OrderedDict()

    def path(self, url: str) -> Path:
        """The object as a file, which nobody may change; of a path or a file:// URL, that path. Raises OSError."""
        if not is_url(url):
            return Path(local_path(url))
        name = url.rpartition("/")[2][-100:]
        path = self._folder / f"{xxhash.xxh3_64_hexdigest(url.encode())}-{name}"
        while path not in self._kept and not self._keep(path):
            self._fetch(url, path)
        self._kept.move_to_end(path)
        os.utime(path)  # when it was asked for last
        while len(self._kept) > _KEPT:
            os.close(self._kept.popitem(last=False)[1])
        return path

    def _keep(self, path: Path) -> bool:
        """Takes hold of a copy, by a shared lock; False where there is none."""
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if has_name(descriptor, path):  # it was not removed in between
                self._kept[path] = descriptor
                return True
            os.close(descriptor)
        return False

    def _fetch(self, url: str, path: Path) -> None:
        """Makes a copy, whole or not at all; two workers that make the same one do not meet."""
        temporary = temporary_name(path)
        try:
            copy_to(url, temporary)
            self._make_room(temporary.stat().st_size)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        found = []
        for path in self._folder.glob("[!.]*"):
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = size + sum(one for _, one, _ in found)
        for _, one, path in sorted(found):
            if total <= self._most_bytes:
                return
            total -= one * self._removed(path)

    def _removed(self, path: Path) -> bool:
        """Removes a copy that nobody holds."""
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                return True
            except BlockingIOError:
                return False
            finally:
                os.close(descriptor)
        return False

    def close(self) -> None:
        """Lets go of all copies: others may remove them."""
        while self._kept:
            os.close(self._kept.popitem()[1])
