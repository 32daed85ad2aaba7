"""Target: a file that a command is told to write."""

from pathlib import Path

from jobs.errors import InputError


def check_file(path: Path, example: str) -> None:
    """Raises InputError where no file can be."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: is a folder, or there is no folder for it; give a file such as {example}")
