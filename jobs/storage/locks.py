"""Locks of files, that end with whoever has them; of file systems some have none."""

import errno
import fcntl
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

# Locks are those of an open file (F_OFD_SETLK), not of a process: the latter end as soon as the process closes any
# descriptor of the file. Below: struct flock of 64-bit Linux, as type, whence, start, length, pid.
_WHOLE_FILE = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

# File systems without locks (Lustre without -o flock, NFS without lockd, some FUSE).
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


def try_lock(descriptor: int) -> bool | None:
    """Takes an exclusive lock that ends with the descriptor or the process; False where another has it.

    None where the file system knows no locks.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def is_locked(descriptor: int) -> bool | None:
    """Whether somebody has the lock of a file that is open at least to be read; None where the file system knows no locks."""
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)


def knows_flock(folder: Path) -> bool:
    """Whether the file system of this folder knows flock(2), whose locks may be shared."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
    return True


def has_name(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one of this name.

    To be asked after ``try_lock``: between open and lock, the lock's last owner may have renamed or removed the file.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def create_locked(name: Callable[[], Path]) -> tuple[Path, int]:
    """Makes a file of a new ``name`` and locks it, where there are locks; returns it open, to be read and written."""
    while True:
        path = name()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if try_lock(descriptor) is not False and has_name(descriptor, path):
            return path, descriptor
        os.close(descriptor)  # before it was locked, somebody took it for abandoned
