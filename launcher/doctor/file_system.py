"""FileSystem: of the folder of runs: its kind, its room, and what of the calls that a run makes works there."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.errors import InputError
from jobs.storage.locks import try_lock
from launcher.executors import Finding
from launcher.plan.runs_folder import check_runs_folder
from launcher.units import short_size

# Those that no other machine sees, unless somebody exports them.
_OF_ONE_MACHINE = frozenset(("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"))
_LITTLE = 1 << 30


def examine_folder(runs: Path, *, is_shared: bool) -> Iterator[Finding]:
    """Nothing is left behind there. ``is_shared``: other machines have to see it."""
    folder = next(path for path in (runs, *runs.parents) if path.is_dir())
    yield Finding("folder", f"{runs}" + ("" if folder == runs else f" (not there yet; {folder} is)"))
    kind, seen = kind_of(folder), os.statvfs(folder)
    alone = f"as a rule no other machine sees {kind}, and all nodes have to see the runs: set runs to a shared folder"
    yield Finding("file system", kind or "unknown", alone if is_shared and kind in _OF_ONE_MACHINE else "")
    free = seen.f_bavail * seen.f_frsize
    lacks = "little room: results are written twice, in attempts and in result.h5" if free < _LITTLE else ""
    yield Finding("room", f"{short_size(free)} free of {short_size(seen.f_blocks * seen.f_frsize)}", lacks)
    try:
        check_runs_folder(folder)
    except (InputError, OSError) as error:
        why = (
            str(error)
            if isinstance(error, InputError)
            else f"{folder}: {error.strerror}; give another: --set runs=FOLDER"
        )
        yield Finding("a run", "cannot be there", why, is_needed=True)
        return
    yield Finding("a run", "can be there: exclusive creation, rename, write at a place, map, append work")
    yield from _optional(folder)


def _optional(folder: Path) -> Iterator[Finding]:
    """What a run does without."""
    with tempfile.TemporaryDirectory(prefix=".try-", suffix=".tmp", dir=folder, ignore_cleanup_errors=True) as name:
        for what, attempt, without in _OPTIONAL:
            problem = attempt(Path(name))
            yield Finding(what, "work" if problem is None else f"do not work ({problem})", without if problem else "")


def _link(folder: Path) -> str | None:
    (folder / "a").touch()
    return _problem(lambda: os.link(folder / "a", folder / "b"))


def _lock(folder: Path) -> str | None:
    with (folder / "lock").open("wb") as file:
        return None if try_lock(file.fileno()) else "not known there"


def _sync(folder: Path) -> str | None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _problem(lambda: os.fsync(descriptor))
    finally:
        os.close(descriptor)


def _problem(call: Callable[[], None]) -> str | None:
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return None


_OPTIONAL: tuple[tuple[str, Callable[[Path], str | None], str], ...] = (
    ("hard links", _link, "a plan may be seen empty for a moment; nothing else depends on them"),
    ("locks", _lock, "two gathers at once do the work twice; the result is right all the same"),
    ("folder syncs", _sync, "after a crash of the file server a new file may be gone, and is made again"),
)


def kind_of(folder: Path) -> str:
    """The kind of file system, as mount(8) calls it; empty where nobody knows."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    real, found, longest = os.path.realpath(folder), "", -1
    for line in mounts:
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if (real == point or real.startswith(f"{point.rstrip('/')}/")) and len(point) >= longest:  # the last one covers
            found, longest = after.split()[0], len(point)
    return found
