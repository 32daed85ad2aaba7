"""Index: the runs that a user has planned, wherever they lie: a symbolic link to each, in a folder of the user's own state.

Runs are found by name with it, and nothing else depends on it: a home that is full, read-only or not there is nobody's error.
A link is made whole, so it needs no lock, and takes no room worth mentioning.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import xxhash

from jobs.storage.rundir import RunDir

# Of a run whose folder of runs is not there either nobody knows: its file system may be another machine's.
_KEPT_SECONDS = 90 * 86400.0


def index_folder() -> Path | None:
    """None where nobody knows this user's home; a folder that is not absolute does not count (XDG base directories)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state if os.path.isabs(state) else os.path.expanduser("~/.local/state"), "launcher", "runs")
    return folder if folder.is_absolute() else None


def note(run: RunDir) -> None:
    """The run is there, and this user's."""
    path, folder = str(run.path.absolute()), index_folder()
    if folder is None:
        return
    link = folder / xxhash.xxh3_64_hexdigest(os.fsencode(path))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(path)
        except FileExistsError:
            os.utime(link, follow_symlinks=False)


def noted_runs() -> Iterator[RunDir]:
    """Those that are there; what is gone is taken out of the index."""
    folder = index_folder()
    with suppress(OSError):
        for link in sorted(folder.iterdir()) if folder else ():
            with suppress(OSError):
                run = RunDir(Path(os.readlink(link)))
                if _is_there(run):
                    yield run
                elif run.path.parent.is_dir() or time.time() - link.lstat().st_mtime > _KEPT_SECONDS:
                    link.unlink()


def _is_there(run: RunDir) -> bool:
    """Raises OSError where that cannot be told."""
    try:
        os.stat(run.plan)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
