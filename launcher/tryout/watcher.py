"""Watcher: a process beside this one that ends the programs that a Job has started, should this one be killed.

In array tasks guardians do that, which stand above. Here the user's own process starts them, so they are known by a mark in
their environment.
"""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_NAME = "LAUNCHER_TRY"
# Seconds between looks whether this process is still there.
_TICK = 0.5
# Looks until none has started another one meanwhile.
_LOOKS = 10


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """What is started meanwhile ends where this process is killed meanwhile."""
    mark = secrets.token_hex(16)
    watcher = subprocess.Popen(
        [sys.executable, "-ISB", __file__, str(os.getpid()), f"{_NAME}={mark}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ[_NAME] = mark
    try:
        yield
    finally:
        del os.environ[_NAME]
        with contextlib.suppress(BrokenPipeError):
            watcher.communicate(b"over")


def _marked(mark: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is gone, or another user's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _watch(parent: int, mark: bytes) -> None:
    """Its life: until a word comes, or there is nobody to say one; what that one has forked may keep the pipe open."""
    while not (said := select.select([sys.stdin], [], [], _TICK)[0]) and os.getppid() == parent:
        pass
    if said and sys.stdin.buffer.read():
        return
    for _ in range(_LOOKS):
        for pid in (pids := _marked(mark)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2].encode())
