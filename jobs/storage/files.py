"""Files that are whole or absent: writing by temp + fsync + rename, reading what may be damaged."""

import ctypes
import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from jobs.errors import RunError

# File systems without hard links (FAT, some FUSE and SMB mounts).
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
# File systems on which a folder cannot be synced (CIFS, some FUSE): there is nothing of it that a sync would write.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
# What says that nothing has a name; all else says that this cannot be told.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP}
# Between a name and its content, where there are no links.
_PUBLISH_SECONDS = 5.0
# For as long what is replaced by two renames may be missing; seconds.
_AWAY = 1.0
# A file that is empty is about to be written, where there are no links; seconds.
_PATIENCE = 0.5

_HERE, _FORCE_SYNC, _BASIC = -100, 0x2000, 0x7FF  # AT_FDCWD, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS
_statx = getattr(ctypes.CDLL(None), "statx", None)

# The disk begins after so many bytes: a sync of 64 MB takes 40 ms.
_BEHIND = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

_Read = TypeVar("_Read")


def fsync_folder(folder: Path) -> None:
    """Makes renames and creations inside ``folder`` survive a crash of the machine, where the file system can."""
    try:
        fsync_file(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def temporary_name(path: Path) -> Path:
    """A name beside ``path``, by chance: two hosts, or two containers, may have processes with the same pid."""
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; on success it is synced and renamed to ``path``.

    On an exception the temporary file is removed and ``path`` is left as it was.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        rename_synced(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            _name(error, path, temporary)
        raise


def _name(error: OSError, path: Path, temporary: Path) -> None:
    """Gives an error the name that people know: writes through a descriptor name no file at all."""
    if error.filename in (None, str(temporary)):
        error.filename = str(path)


def rename_synced(source: Path, target: Path) -> None:
    """fsync, rename, fsync of the folder: after it returns, ``target`` survives a crash."""
    # The bytes before the name: file systems may write a rename first, and a crash would leave a whole file's name on
    # half a file.
    fsync_file(source)
    os.replace(source, target)
    fsync_folder(target.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes a whole JSON file atomically."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def publish(temporary: Path, path: Path) -> bool:
    """Gives a whole file its name unless another has it, and says whether it did: of several at once, one does.

    ``temporary``, in the same folder, is left or not; where the file system knows no links, others may see an empty file
    for a moment.
    """
    try:
        os.link(temporary, path)  # rename would replace
    except FileExistsError:
        return temporary.stat().st_nlink > 1  # a file server did it, its answer was lost, and it was asked again
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            return False
        os.replace(temporary, path)
    return True


def write_once(path: Path, data: bytes) -> bytes:
    """Writes a whole file where there is none; returns what it holds: of several that try at once, one has its way."""
    with suppress(FileNotFoundError):
        if found := path.read_bytes():
            return found
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        fsync_file(temporary)
        if publish(temporary, path):
            fsync_folder(path.parent)
            return data
        return _read_published(path, temporary)
    except OSError as error:
        _name(error, path, temporary)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _read_published(path: Path, instead: Path) -> bytes:
    """What another has written; where it died before it had, the file ``instead`` takes that place."""
    deadline = time.monotonic() + _PUBLISH_SECONDS
    while not (found := path.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    if not found:
        os.replace(instead, path)
    return found or path.read_bytes()


def has_content(path: Path) -> bool:
    """Whether there is a file with something in it; an empty one is about to be written, or whoever began to was killed."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def is_published(path: Path) -> bool:
    """As ``has_content``; waits a moment for who is about to write what is there, not for one who was killed before he did."""
    deadline = time.monotonic() + _PATIENCE
    while not has_content(path):
        try:
            is_old = time.time() - path.stat().st_mtime > _PUBLISH_SECONDS
        except FileNotFoundError:
            return False
        if is_old or time.monotonic() > deadline:
            return False
        time.sleep(_PATIENCE / 20)
    return True


def exists(path: Path) -> bool:
    """Whether something has this name. Raises OSError where that cannot be told; Path.exists says no, from Python 3.14 on."""
    return _mode(path) is not None


def is_file(path: Path) -> bool:
    """The same of a plain file."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except ValueError:  # no name of a file at all
        return None
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def is_there(path: Path) -> bool:
    """Whether something has this name, of a run that another plan may be replacing: so long it is away for milliseconds."""
    deadline = time.monotonic() + _AWAY
    while not exists(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def refresh_names(folder: Path) -> None:
    """Has a network file system ask its server which names there are, where it would trust its memory for a minute.

    That is statx(2) with AT_STATX_FORCE_SYNC, which promises little; where there is no such thing, nothing happens.
    """
    if _statx:
        _statx(_HERE, os.fsencode(folder), _FORCE_SYNC, _BASIC, ctypes.create_string_buffer(256))


def server_time(folder: Path) -> float:
    """The time by the clock that the files of a folder have theirs from; of this machine, where nothing can be written."""
    temporary = temporary_name(folder / "clock")
    try:
        temporary.touch(exist_ok=False)
        try:
            return temporary.stat().st_mtime
        finally:
            temporary.unlink()
    except OSError:
        return time.time()


def fsync_file(path: Path) -> None:
    """Makes what is in a file, or a folder, survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def intact(path: Path, read: Callable[[Path], _Read], remedy: str) -> _Read:
    """What ``read`` makes of a file; raises RunError where it is damaged, with what to do, FileNotFoundError where none."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return read(path)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            if path.stat().st_size == 0 and time.monotonic() < deadline:
                time.sleep(_PATIENCE / 20)
                continue
            what = f"{path}: cut short or damaged ({type(error).__name__}: {error})"
            raise RunError(f"{what}; {remedy}") from error
        except OSError as error:
            if error.errno != errno.ESTALE or time.monotonic() > deadline:  # replaced while it was read, on NFS
                raise


def open_at_end(path: Path) -> BinaryIO:
    """A file to append to, made where there is none; raises OSError for a link, which may lead anywhere."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "ab")


def write_fully(descriptor: int, data: memoryview, offset: int) -> None:
    """pwrite of all of ``data``; a short write (signals, full disks) is continued until it raises."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


class WriteBehind:
    """Has the kernel write what a file gets while it gets it: left to the kernel, all of it would wait for a sync.

    That is sync_file_range(2), which promises nothing; where there is no such thing, nothing happens.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = 0

    def add(self, size: int) -> None:
        """So many more bytes are in the kernel's cache of the file."""
        self._waiting += size
        if self._waiting >= _BEHIND:
            self._waiting = 0
            if _sync_file_range:
                _sync_file_range(self._descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def read_fully(descriptor: int, buffer: memoryview, offset: int) -> int:
    """preadv into ``buffer``; returns the bytes read, fewer than asked only at the end of the file."""
    done = 0
    while done < len(buffer):
        read = os.preadv(descriptor, [buffer[done:]], offset + done)
        if read == 0:
            break
        done += read
    return done
