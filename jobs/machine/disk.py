"""Disk: which errors mean that the run's file system takes no more, and how an array task says that without writing.

Such an error is nobody's but the file system's; the journal, which should have it, lies on the same one, so the exit
code tells it too.
"""

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

from jobs import exit_codes

# EFBIG: a limit of files (ulimit -f, FAT). The last line: a mount that has gone, as Lustre, FUSE and NFS with a time limit say.
_ERRORS = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG,
    errno.ESHUTDOWN, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EREMOTEIO,
})  # fmt: skip


def is_failing(error: OSError) -> bool:
    """Whether the file system is full, over quota or broken; other errors are of the program or the machine."""
    return error.errno in _ERRORS


def describe(error: OSError, folder: Path) -> str:
    """``/scratch/runs/toy: No space left on device``; writes through a descriptor name no file."""
    return f"{error.filename or folder}: {error.strerror or error}"


def leave(error: OSError) -> NoReturn:
    """Ends this process; not by sys.exit, which fails (exit code 120) where the log cannot be written either."""
    with contextlib.suppress(OSError):
        print(f"cannot write to the run directory: {error}", file=sys.stderr, flush=True)
    os._exit(exit_codes.NO_DISK)
