"""Formats: which source class reads an entry of data.manifest. Importing this imports none of them.

A format is a subclass of sources.FileSource (or text_source.TextSource), in a module of its own, and a line of a table. A
blank config names it then; docs/config.md has to.
"""

import glob
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.nearest import did_you_mean, nearest

if TYPE_CHECKING:
    from launcher.manifest.sources import Source

TEXT = {
    ".csv": "csv_source:CsvSource",
    ".tsv": "csv_source:TsvSource",
    ".jsonl": "jsonl_source:JsonlSource",
    ".ndjson": "jsonl_source:JsonlSource",
    ".txt": "txt_source:TxtSource",
}
BINARY = {
    ".parquet": "sources:ParquetSource",
    ".arrow": "sources:ArrowSource",
}
FORMATS = TEXT | BINARY
"""The end of a table's name -> the module of launcher.manifest and the class that reads it."""

TAR = ".tar"
_PACKED_TARS = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.lz4")

PACKED = (".gz", ".zst")
"""What may stand behind the end of a text file's name."""

KINDS = f"{' '.join(FORMATS)} {TAR} file (text also {' or '.join(PACKED)}), a folder of .parquet files"
"""All kinds of tables, in words."""


def open_source(entry: str, folder: Path, wanted: Collection[str | None]) -> "Source":
    """The source of an entry, which starts at ``folder`` if it is relative; ``wanted``: columns that the config names.

    Raises InputError where the entry is no file or of no known format.
    """
    if entry.lower().endswith(TAR):
        return _open_tars(entry, folder, "size" in wanted)
    if not glob.has_magic(entry) and entry.lower().endswith(_PACKED_TARS):
        raise InputError(
            f"{entry}: a compressed tar has to be unpacked from its beginning to reach any of its files; unpack it to .tar: "
            "its files are mostly compressed themselves (data.manifest)"
        )
    from launcher.manifest.sources import GlobSource, display

    path = Path(os.path.normpath(folder / Path(entry).expanduser()))
    if os.path.isdir(path):
        return _open_folder(path, entry)
    if not os.path.exists(path):
        if glob.has_magic(entry):
            return GlobSource(os.path.expanduser(entry), folder, "size" in wanted)
        raise _missing(path)
    _check_file(path)
    reader = _format(path.name.lower())
    if reader is None:
        raise InputError(f"{display(path)}: unknown kind of manifest; valid: a {KINDS}, or a pattern with *")
    module, _, name = reader.partition(":")
    source_class: Callable[[Path], Source] = getattr(import_module(f"launcher.manifest.{module}"), name)
    return source_class(path)


def _open_tars(entry: str, folder: Path, size: bool) -> "Source":
    from launcher.manifest.tar_source import TarSource, find_tars

    files = [(name, Path(os.path.normpath(folder / name))) for name in find_tars(os.path.expanduser(entry), folder)]
    for _, path in files:
        if not os.path.exists(path):
            raise _missing(path)
        _check_file(path)
    return TarSource(entry, files, size)


def _missing(path: Path) -> InputError:
    from launcher.manifest.sources import display

    if os.path.islink(path):
        return InputError(f"{display(path)}: is a link to {os.readlink(path)}, which is not there (data.manifest)")
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(path.parent)
    return InputError(f"{display(path)}: no such file (data.manifest){did_you_mean(nearest(path.name, names))}")


def _check_file(path: Path) -> None:
    from launcher.manifest.sources import display

    if not os.path.isfile(path):  # to read a pipe, twice, is to wait for ever; a device has no end
        raise InputError(
            f"{display(path)}: is no file but a pipe, socket or device (data.manifest); write it to a file"
        )


def _format(name: str) -> str | None:
    """Who reads a file of that name, in small letters."""
    base, end = os.path.splitext(name)
    return TEXT.get(os.path.splitext(base)[1]) if end in PACKED else FORMATS.get(end)


def _open_folder(path: Path, entry: str) -> "Source":
    from launcher.manifest.parquet_folder import ParquetFolder, parquet_files
    from launcher.manifest.sources import display

    if parquet_files(path):
        return ParquetFolder(path)
    pattern = f"{entry.rstrip('/')}/*.jpg"
    raise InputError(
        f"{display(path)}: is a folder without .parquet files; for its files write a pattern such as {pattern}"
    )
