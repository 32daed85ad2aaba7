"""Patterns: the files that a glob matches, each by one path.

As glob has it, but a link to a folder that it lies in is not followed by ``**``: it would give each file again under
every path through the link, 40 times, and with two such links the walk does not end.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.errors import InputError

_DEEP = "**"


def matching_files(pattern: str, folder: Path) -> Iterator[str]:
    """Paths, as the pattern gives them, of files and of links to nothing; a path may come twice."""
    return (match for match in _matches(pattern, str(folder)) if not os.path.isdir(folder / match))


def _matches(pattern: str, folder: str) -> Iterator[str]:
    parts = pattern.split("/")
    if _DEEP not in parts:
        _check_folders(parts, folder)
        yield from glob.iglob(pattern, root_dir=folder)
        return
    at = parts.index(_DEEP)
    rest = "/".join(parts[at + 1 :]).lstrip("/") if parts[at + 1 :] else "*"
    for base in _bases("/".join(parts[:at]), pattern, folder):
        for below in _folders(base, os.path.join(folder, base)):
            yield from (os.path.join(below, match) for match in _matches(rest, os.path.join(folder, below)))


def _check_folders(parts: Sequence[str], folder: str) -> None:
    """Raises InputError for one on the way that may not be entered, or not be listed where names are to be matched."""
    for depth in range(1, len(parts)):
        head, needed = "/".join(parts[:depth]), os.X_OK | (os.R_OK if glob.has_magic(parts[depth]) else 0)
        for place in glob.iglob(f"{head}/", root_dir=folder) if head else ():
            if not os.access(path := os.path.join(folder, place), needed):
                raise _not_for_us(path)


def _not_for_us(path: str) -> InputError:
    return InputError(
        f"{path}: this folder may not be read, and what matches in it would be left out; mend its permissions (chmod), or "
        "name the folders that are wanted, as a list (data.manifest)"
    )


def _bases(head: str, pattern: str, folder: str) -> Iterator[str]:
    """The folders before the first ``**``."""
    if head or pattern.startswith("/"):
        return glob.iglob(head.rstrip("/") + "/", root_dir=folder)
    return iter([""])


def _folders(name: str, path: str) -> Iterator[str]:
    """A folder and all below it, but hidden ones: by ``name``, as matches are called; ``path`` is where it is."""
    stack: list[tuple[str, str, tuple[str, ...]]] = [(name, path, (os.path.realpath(path),))]
    while stack:
        name, path, around = stack.pop()
        yield name
        for entry in _entries(path):
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(around[-1], entry.name)
            if not any(_lies_in(outer, real) for outer in around):
                stack.append((os.path.join(name, entry.name), entry.path, (*around, real)))


def _lies_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _entries(path: str) -> list[os.DirEntry[str]]:
    """Folders in a folder; none where it is gone. Raises InputError where it may not be read."""
    try:
        with os.scandir(path) as found:
            return [entry for entry in found if entry.is_dir() and not entry.name.startswith(".")]
    except PermissionError:
        raise _not_for_us(path) from None
    except OSError:
        return []
