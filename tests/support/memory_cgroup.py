"""A memory cgroup of a test's own, below that of the tests: what is started in it the kernel kills for its memory."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jobs.machine.memory import cgroup_files
from tests.support.launcher_runs import wait_until

# Shared memory, which no limit on a process's own data stops, so that the kernel kills it.
_GREEDY = "import mmap; m = mmap.mmap(-1, {megabytes} << 20); [m.write(b'1' * (1 << 20)) for _ in range({megabytes})]"


class MemoryCgroup:
    """``enter`` is for a new process to call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def enter(self) -> None:
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, megabytes: int) -> None:
        (self.folder / "memory.limit_in_bytes").write_text(str(megabytes << 20))

    def kill_one(self, megabytes: int) -> None:
        """Has the kernel kill a process in it, that takes more than so many megabytes."""
        code = _GREEDY.format(megabytes=2 * megabytes)
        # It goes first, so that the kernel takes nobody else.
        score = "from pathlib import Path; Path('/proc/self/oom_score_adj').write_text('1000');"
        with subprocess.Popen([sys.executable, "-c", f"{score} {code}"], preexec_fn=self.enter) as process:
            assert process.wait() == -signal.SIGKILL

    def below(self) -> "MemoryCgroup":
        made = MemoryCgroup(self.folder / "below")
        made.folder.mkdir()
        return made

    def remove(self) -> None:
        """Ends what is in it."""
        if (self.folder / "below").exists():
            MemoryCgroup(self.folder / "below").remove()
        for pid in map(int, (self.folder / "cgroup.procs").read_text().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not (self.folder / "cgroup.procs").read_text())
        self.folder.rmdir()


@contextmanager
def memory_cgroup(megabytes: int | None = None) -> Iterator[MemoryCgroup]:
    """Skips the test where none can be made: not as root, or not with version 1."""
    own = next(iter(cgroup_files("memory.limit_in_bytes", "none")), None)
    if own is None or not os.access(own, os.W_OK):
        pytest.skip("no memory cgroup can be made here")
    made = MemoryCgroup(own.parent / f"test-{uuid.uuid4().hex}")
    made.folder.mkdir()
    try:
        if megabytes:
            made.limit(megabytes)
        yield made
    finally:
        made.remove()
