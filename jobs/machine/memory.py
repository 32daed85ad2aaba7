"""Memory: how much this task may use, and how much a process does use; what becomes of its own when it is short."""

import contextlib
import re
import resource
from pathlib import Path

from jobs.machine import allocation

# The share of a hard limit that is left free: the kernel kills at the limit, and slots and pages come in bursts.
_HEADROOM = 0.10
_UNLIMITED = 1 << 60
# Thousandths of the limit that a process seems to use more than it does: half of what the supervisor takes of 300 MB.
_GOES_FIRST = 100
_FIELDS = re.compile(r"^(Anonymous|Pss_Anon|Pss_Shmem):\s+(\d+) kB", re.MULTILINE)


def task_limit() -> int:
    """Bytes this task may use: the least of its cgroup's limit and all above, its request, and the machine's; less 10%.

    The request counts where no cgroup enforces it, too: then nobody else keeps the tasks of a node from taking each other's.
    """
    files = cgroup_files("memory.limit_in_bytes", "memory.max")
    texts = [text for file in files if (text := read_text(file))]
    limits = [int(text) for text in texts if text.strip().isdigit()]
    machine = _field(Path("/proc/meminfo"), "MemTotal:")
    return int(min(machine or _UNLIMITED, allocation.memory() or _UNLIMITED, *limits, _UNLIMITED) * (1 - _HEADROOM))


def cgroup_files(v1: str, v2: str) -> list[Path]:
    """The files of these names in this process's memory cgroup and in all above it, innermost first."""
    found: list[Path] = []
    for line in (read_text(Path("/proc/self/cgroup")) or "").splitlines():  # a kernel may have none
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found += _upwards(Path("/sys/fs/cgroup/memory"), path, v1)
        elif controllers == "":
            found += _upwards(Path("/sys/fs/cgroup"), path, v2)
    return found


def _upwards(root: Path, path: str, name: str) -> list[Path]:
    folder = root / path.lstrip("/")
    return [above / name for above in (folder, *folder.parents) if above.is_relative_to(root)]


def read_text(path: Path) -> str | None:
    """None where it is not there, or not for this process to read."""
    try:
        return path.read_text()
    except OSError:
        return None


def pages_of(pid: int) -> int:
    """All pages that a process has in memory, shared ones and those of files too; 0 where it is gone. Quick (statm)."""
    text = read_text(Path(f"/proc/{pid}/statm"))
    return int(text.split()[1]) if text else 0


def resident(pid: int) -> tuple[int, bool]:
    """What a process takes of the task's memory, bytes, and whether it shares some of it; 0 where it is gone.

    Pages that it shares (slots, and what a fork left as it was) are divided among those that have them, and pages of
    files do not count, since the kernel drops them when memory gets short: Pss_Anon and Pss_Shmem of proc_pid_smaps(5).
    Before Linux 5.4, which does not tell these, all that is resident and not of a file.
    """
    text = read_text(Path(f"/proc/{pid}/smaps_rollup")) or ""
    found = {name: int(kilobytes) * 1024 for name, kilobytes in _FIELDS.findall(text)}
    if "Pss_Anon" in found or not text:
        anonymous, shared = found.get("Pss_Anon", 0), found.get("Pss_Shmem", 0)
        return anonymous + shared, shared > 0 or anonymous < found.get("Anonymous", 0)
    status = Path(f"/proc/{pid}/status")
    return (_field(status, "RssAnon:") or 0) + (_field(status, "RssShmem:") or 0), True


def _field(path: Path, name: str) -> int | None:
    lines = (read_text(path) or "").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def in_words(size: int) -> str:
    """Bytes as ``1.5 GiB``, small ones as ``300 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{-(-size // 2**20)} MiB"


def limit_data(limit: int) -> None:
    """Makes allocations beyond ``limit`` bytes fail with MemoryError in this process, before the node runs out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (min([limit, *(known for known in (soft, hard) if known >= 0)]), hard))


def go_first() -> None:
    """Has the kernel's OOM killer take this process rather than its parent, which starts others and loses nothing.

    The fork server before the supervisor, and a child, which inherits from it, before the fork server. One that it killed
    may keep shared memory for a moment, in which the kernel looks for another (proc_pid_oom_score_adj(5)).
    """
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        path.write_text(str(min(1000, int(path.read_text()) + _GOES_FIRST)))
