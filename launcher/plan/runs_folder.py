"""RunsFolder: whether a file system can hold a run: a few calls that a run needs, tried once when it is planned.

Hard links, locks and the sync of folders are not among them: a run does without (jobs/storage/files.py).
"""

import errno
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.errors import InputError
from jobs.gather.new_result import temporary_result
from jobs.storage.files import fsync_folder
from jobs.storage.rundir import RunDir
from launcher.config.config import Config
from launcher.config.origins import Problem

# What a file system says that does not know a call; all else (full, read-only, not ours) is said as it is.
_UNKNOWN = {errno.EINVAL, errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_CONTENT = os.urandom(64)


class _Differs(Exception):
    """A call went well, and did something else."""


@contextmanager
def made_for_good(folder: Path) -> Iterator[None]:
    """Makes a folder, and those above it; where what is done in it fails, those that were not there go, if they are empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:  # their names, too: else a crash of the machine may take all that is synced in them
        with suppress(PermissionError):  # a folder that may be entered, and not read
            fsync_folder(path.parent)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something is in it: another launcher plans a run there
            for path in made:
                path.rmdir()
        raise


def check_runs_folder(folder: Path) -> None:
    """Raises InputError, with what is missing, where array tasks could not work in this folder; leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix=".try-", suffix=".tmp", dir=folder, ignore_cleanup_errors=True) as name:
        for what, attempt in _NEEDED.items():
            try:
                attempt(Path(name))
            except _Differs:
                raise InputError(_refusal(folder, what, "it did something else")) from None
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    error.filename = error.filename or str(folder)  # writes through a descriptor name no file
                    raise
                raise InputError(_refusal(folder, what, error.strerror or str(error))) from error


def _refusal(folder: Path, what: str, why: str) -> str:
    return (
        f"{folder}: its file system cannot hold a run: {what} does not work there ({why}). Give another folder: "
        "--set runs=FOLDER"
    )


def _exclusive(folder: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(folder / "claim", flags, 0o666))
    try:
        os.close(os.open(folder / "claim", flags, 0o666))
    except FileExistsError:
        return
    raise _Differs


def _rename(folder: Path) -> None:
    (folder / "new").write_bytes(_CONTENT)
    (folder / "old").write_bytes(b"old")
    os.replace(folder / "new", folder / "old")
    _expect((folder / "old").read_bytes() == _CONTENT)


def _places(folder: Path) -> None:
    descriptor = os.open(folder / "data", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.pwrite(descriptor, _CONTENT[32:], 32)
        os.pwrite(descriptor, _CONTENT[:32], 0)
        os.fdatasync(descriptor)
        _expect(os.pread(descriptor, 64, 0) == _CONTENT)
    finally:
        os.close(descriptor)


def _map(folder: Path) -> None:
    with (folder / "data").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as found:
        _expect(found[:] == _CONTENT)


def _append(folder: Path) -> None:
    for piece in (_CONTENT[:32], _CONTENT[32:]):
        with (folder / "journal").open("ab") as file:
            file.write(piece)
    _expect((folder / "journal").read_bytes() == _CONTENT)


def _expect(is_right: bool) -> None:
    if not is_right:
        raise _Differs


_NEEDED: dict[str, Callable[[Path], None]] = {
    "making a file only where there is none (O_EXCL)": _exclusive,
    "renaming a file over another": _rename,
    "writing at a place of a file": _places,
    "mapping a file into memory": _map,
    "appending to a file": _append,
}


def name_problems(config: Config) -> list[Problem]:
    """Results whose names, also those on their way, would be too long for a file."""
    run = RunDir(config.run_folder)
    most = _longest_name(run.path)
    problems: list[Problem] = []
    manifests: list[str | None] = [*config.data.manifests] or [None]
    store = config.result_form.store
    for manifest in manifests:
        path = run.result_of(manifest, run.outgoing_to(store) if store else config.output_path)
        if (over := len(os.fsencode(temporary_result(path).name)) - most) > 0:
            key = ("output", "path") if config.output.path else ("data", "manifest")
            extra = len(temporary_result(path).name) - len(path.name)  # until it is complete
            text = f"{path.name[:40]}...: {over} bytes too long for the name of a result: at most {most - extra}"
            problems.append((key, text))
    return problems


def _longest_name(path: Path) -> int:
    """Of a file in the nearest folder that is there, bytes."""
    there = next((folder for folder in path.absolute().parents if _is_folder(folder)), Path("/"))
    return os.pathconf(there, "PC_NAME_MAX")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # its name is too long
        return False
