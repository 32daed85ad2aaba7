"""Memory: how much this task may use, and how much its processes do use; what becomes of these when it is short."""

import contextlib
import re
import resource
from collections.abc import Iterable
from pathlib import Path

# The share of a hard limit that is left free: the kernel kills at the limit, and slots and pages come in bursts.
_HEADROOM = 0.10
_UNLIMITED = 1 << 60
# Thousandths of the limit that a child seems to use more than it does: more than the supervisor takes of 600 MB.
_GOES_FIRST = 200
_SHARES = re.compile(r"^(?:Pss_Anon|Pss_Shmem):\s+(\d+) kB", re.MULTILINE)


def task_limit() -> int:
    """Bytes this task may use: the least limit of its cgroup and of all above (or the machine's memory) less 10%."""
    files = cgroup_files("memory.limit_in_bytes", "memory.max")
    texts = [text for file in files if (text := _read(file))]
    limits = [int(text) for text in texts if text.strip().isdigit()]
    machine = _field(Path("/proc/meminfo"), "MemTotal:") or _UNLIMITED
    return int(min(machine, *limits, _UNLIMITED) * (1 - _HEADROOM))


def oom_kills() -> int:
    """How often the kernel's OOM killer took a process of this task's cgroups so far; without any, of the machine."""
    texts = [text for file in cgroup_files("memory.oom_control", "memory.events") if (text := _read(file))]
    lines = [line.split() for text in texts or [_read(Path("/proc/vmstat")) or ""] for line in text.splitlines()]
    return sum(int(line[1]) for line in lines if len(line) == 2 and line[0] == "oom_kill")


def cgroup_files(v1: str, v2: str) -> list[Path]:
    """The files of these names in this process's memory cgroup and in all above it, innermost first."""
    found: list[Path] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found += _upwards(Path("/sys/fs/cgroup/memory"), path, v1)
        elif controllers == "":
            found += _upwards(Path("/sys/fs/cgroup"), path, v2)
    return found


def _upwards(root: Path, path: str, name: str) -> list[Path]:
    folder = root / path.lstrip("/")
    return [above / name for above in (folder, *folder.parents) if above.is_relative_to(root)]


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def pages_of(pid: int) -> int:
    """All pages that a process has in memory, shared ones and those of files too; 0 where it is gone. Quick (statm)."""
    text = _read(Path(f"/proc/{pid}/statm"))
    return int(text.split()[1]) if text else 0


def resident(pid: int) -> int:
    """What a process takes of the task's memory, bytes; 0 where it is gone.

    Pages that it shares (slots, and what a fork left as it was) are divided among those that have them, and pages of
    files do not count, since the kernel drops them when memory gets short: Pss_Anon and Pss_Shmem of proc_pid_smaps(5).
    Before Linux 5.4, which does not tell these, all that is resident and not of a file.
    """
    text = _read(Path(f"/proc/{pid}/smaps_rollup")) or ""
    shares = [int(kilobytes) * 1024 for kilobytes in _SHARES.findall(text)]
    if shares or not text:
        return sum(shares)
    status = Path(f"/proc/{pid}/status")
    return (_field(status, "RssAnon:") or 0) + (_field(status, "RssShmem:") or 0)


def _field(path: Path, name: str) -> int | None:
    lines = (_read(path) or "").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def limit_data(limit: int) -> None:
    """Makes allocations beyond ``limit`` bytes fail with MemoryError in this process, before the node runs out."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def go_first() -> None:
    """Has the kernel's OOM killer take this process rather than the supervisor, which starts others and loses nothing.

    One that it killed may keep shared memory for a moment, in which the kernel looks for another (proc_pid_oom_score_adj(5)).
    """
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        path.write_text(str(min(1000, int(path.read_text()) + _GOES_FIRST)))


def largest(pids: Iterable[int]) -> tuple[int, int, int]:
    """(total bytes, pid of the largest, its bytes) of the processes; pid 0 where there is none."""
    sizes = [(resident(pid), pid) for pid in pids]
    size, pid = max(sizes, default=(0, 0))
    return sum(size for size, _ in sizes), pid, size
