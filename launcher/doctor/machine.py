"""Machine: this one, its Python and our packages, as far as that is known without importing any."""

import os
import platform
import resource
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jobs.extras import DISTRIBUTION, how_to_install
from jobs.machine.devices import usable_cpus, visible_gpus
from jobs.machine.memory import task_limit
from jobs.machine.user import user_name
from launcher import __version__
from launcher.executors import Finding
from launcher.units import counted, short_size

_NEEDED = ("numpy", "h5py", "pyarrow", "pydantic")
_SHARED = Path("/dev/shm")
_LITTLE_SHARED = 1 << 28
_FEW_FILES = 256


def examine_machine() -> Iterator[Finding]:
    """What is quick to know of it."""
    yield Finding(
        "host", f"{platform.node()}, {platform.system()} {platform.release()}, {platform.machine()}, user {user_name()}"
    )
    yield Finding("python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("launcher", f"{__version__}, {Path(__file__).parents[2]}")
    found = {name: known for name in _NEEDED if (known := _version(name))}
    missing = [name for name in _NEEDED if name not in found]
    lacks = f"not installed: {', '.join(missing)}: pip install {DISTRIBUTION}" if missing else ""
    yield Finding(
        "packages", ", ".join(f"{name} {known}" for name, known in found.items()), lacks, is_needed=bool(missing)
    )
    torch = _version("torch")
    without = f"Jobs with models need it (text, audio, image embedding): {how_to_install('torch')}"
    yield Finding("torch", f"{torch} (not imported)" if torch else "not installed", "" if torch else without)
    gpus = visible_gpus()
    yield Finding(
        "usable",
        f"{counted(usable_cpus(), 'CPU')}, {short_size(task_limit())} of memory, {counted(gpus, 'GPU') if gpus else 'no GPU'}",
    )
    yield _shared_memory()
    yield _open_files()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _shared_memory() -> Finding:
    try:
        seen = os.statvfs(_SHARED)
    except OSError as error:
        return Finding(str(_SHARED), "not there", f"the launcher needs none; a Job's own may ({error.strerror})")
    size = seen.f_blocks * seen.f_frsize
    text = f"{short_size(size)}, {short_size(seen.f_bavail * seen.f_frsize)} free"
    lacks = "the launcher needs none; a Job that shares memory by itself (torch's DataLoader, NCCL) does"
    return Finding(str(_SHARED), text, lacks if size < _LITTLE_SHARED else "")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{'unlimited' if soft < 0 else soft}, at most {'unlimited' if hard < 0 else hard}"
    lacks = (
        "many processes and pool workers in an array task need more: ulimit -n 4096" if 0 <= hard < _FEW_FILES else ""
    )
    return Finding("open files", text, lacks)
