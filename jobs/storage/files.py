"""Files that are whole or absent: writing by temp + fsync + rename, and locks of what one process makes at a time."""

import ctypes
import errno
import fcntl
import json
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Locks are those of an open file (F_OFD_SETLK), not of a process: the latter end as soon as the process closes any
# descriptor of the file. Below: struct flock of 64-bit Linux, as type, whence, start, length, pid.
_WHOLE_FILE = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of file systems without hard links: some FUSE, SMB, exFAT."""

# File systems without locks (Lustre without -o flock, some FUSE): the scheduler alone then keeps writers apart.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}

_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def fsync_folder(folder: Path) -> None:
    """Makes renames and creations inside ``folder`` survive a crash of the machine."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; on success it is synced and renamed to ``path``.

    On an exception the temporary file is removed and ``path`` is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        rename_synced(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def rename_synced(source: Path, target: Path) -> None:
    """fsync, rename, fsync of the folder: after it returns, ``target`` survives a crash."""
    # The bytes before the name: file systems may write a rename first, and a crash would leave a whole file's name on
    # half a file.
    _sync(source)
    os.replace(source, target)
    fsync_folder(target.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes a whole JSON file atomically."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def write_once(path: Path, data: bytes) -> bool:
    """Writes a whole file where there is none, and says whether it did: of several that try at once, one does."""
    # By chance: others may try on other machines, with the same pid.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        _sync(temporary)
        os.link(temporary, path)  # rename would replace
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Of two that come to this at the same moment the later one stays, and both have done it.
        if path.exists():
            return False
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return True


def write_fully(descriptor: int, data: memoryview, offset: int) -> None:
    """pwrite of all of ``data``; a short write (signals, full disks) is continued until it raises."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def start_writing(descriptor: int) -> None:
    """Has the kernel begin to write what is in its cache of the file, so that a later sync has little left to wait for.

    That is sync_file_range(2), which promises nothing; where there is no such thing, nothing happens.
    """
    if _sync_file_range:
        _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def read_fully(descriptor: int, buffer: memoryview, offset: int) -> int:
    """preadv into ``buffer``; returns the bytes read, fewer than asked only at the end of the file."""
    done = 0
    while done < len(buffer):
        read = os.preadv(descriptor, [buffer[done:]], offset + done)
        if read == 0:
            break
        done += read
    return done


def try_lock(descriptor: int) -> bool:
    """Takes an exclusive lock that ends with the descriptor or the process; False where another has it.

    True as well where the file system knows no locks.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def has_name(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one of this name.

    To be asked after ``try_lock``: between open and lock, the lock's last owner may have renamed or removed the file.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
