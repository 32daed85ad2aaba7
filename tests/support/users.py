"""Ordinary users of this machine, as whom root runs the launcher: those that Debian has and nobody logs in as."""

import os
import pwd
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.launcher_runs import ROOT
from tests.support.patience import PATIENCE

OWNER, COLLEAGUE = "games", "mail"
# Where the environment's own Python is below root's home, the machine's of the same version reads its packages.
_PYTHONS = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
_PACKAGES = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder of a group's: OWNER and COLLEAGUE, both in OWNER's group, can write it, and what either makes there."""
    if _python() is None:
        pytest.skip(f"{OWNER} and {COLLEAGUE} cannot run the launcher here: there are none, or they cannot read it")
    with tempfile.TemporaryDirectory(prefix="group-") as name:
        folder = Path(name)
        os.chown(folder, 0, pwd.getpwnam(OWNER).pw_gid)
        folder.chmod(0o2775)
        yield folder


def launch_as(user: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a command of the launcher as that user, to its end."""
    return _run_as(user, folder, str(_python()), "-m", "launcher", *map(str, arguments))


def _run_as(user: str, folder: Path, python: str, *words: str) -> subprocess.CompletedProcess[str]:
    own = {"HOME": str(folder), "PYTHONPATH": _PACKAGES, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [python, "-P", *words], cwd=folder, env={**os.environ, **own}, user=user, group=OWNER, extra_groups=[],
        umask=0o002, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@cache
def _python() -> str | None:
    """The Python by which both users can run the launcher, or None."""
    return next((python for python in _PYTHONS if all(_can_run(python, user) for user in (OWNER, COLLEAGUE))), None)


def _can_run(python: str, user: str) -> bool:
    try:
        return _run_as(user, Path("/"), python, "-c", "import launcher.cli, h5py, pyarrow").returncode == 0
    except (LookupError, OSError, ValueError):  # no such user or Python; not root
        return False
