"""Formats: which source class reads an entry of data.manifest. Importing this imports none of them.

A format is a subclass of sources.FileSource (or text_source.TextSource), in a module of its own, and a line of a table. A
blank config names it then; docs/config.md has to.
"""

import glob
import os
from collections.abc import Callable
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

PACKED = (".gz", ".zst")
"""What may stand behind the end of a text file's name."""

KINDS = f"{' '.join(FORMATS)} file (text also {' or '.join(PACKED)}), a folder of .parquet files"
"""All kinds of tables, in words."""


def open_source(entry: str, folder: Path, sizes: bool) -> "Source":
    """The source of an entry, which starts at ``folder`` if it is relative; ``sizes``: a glob has a column ``size``.

    Raises InputError where the entry is no file or of no known format.
    """
    from launcher.manifest.sources import GlobSource, display

    path = Path(os.path.normpath(folder / Path(entry).expanduser()))
    if os.path.isdir(path):
        return _open_folder(path, entry)
    if not os.path.exists(path):
        if glob.has_magic(entry):
            return GlobSource(os.path.expanduser(entry), folder, sizes)
        if os.path.islink(path):
            raise InputError(f"{display(path)}: is a link to {os.readlink(path)}, which is not there (data.manifest)")
        names: list[str] = []
        with suppress(OSError):
            names = os.listdir(path.parent)
        raise InputError(f"{display(path)}: no such file (data.manifest){did_you_mean(nearest(path.name, names))}")
    if not os.path.isfile(path):  # to read a pipe, twice, is to wait for ever; a device has no end
        raise InputError(
            f"{display(path)}: is no file but a pipe, socket or device (data.manifest); write it to a file"
        )
    reader = _format(path.name.lower())
    if reader is None:
        raise InputError(f"{display(path)}: unknown kind of manifest; valid: a {KINDS}, or a pattern with *")
    module, _, name = reader.partition(":")
    source_class: Callable[[Path], Source] = getattr(import_module(f"launcher.manifest.{module}"), name)
    return source_class(path)


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
