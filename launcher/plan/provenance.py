"""Provenance: what planned a run: versions, machine, user, git state. Recorded in plan.json by plan; imports no package."""

import getpass
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from jobs.machine.versions import installed_versions

_PACKAGES = ("h5py", "pyarrow")
_GIT_SECONDS = 10


def describe_environment() -> dict[str, str]:
    """Versions of what computes, the machine, the user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        user = "unknown"
    versions = {name: version for name in _PACKAGES if (version := _version(name))}
    return {
        **installed_versions(),
        **versions,
        "platform": platform.platform(),
        "hostname": os.uname().nodename,
        "user": user,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_git(folder: Path) -> dict[str, Any]:
    """Commit and whether tracked files were changed, of the repository around ``folder``; empty without one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",  # names of files, of any encoding
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
