"""Formats: which source class reads an entry of data.manifest. Importing this imports none of them.

A format is a subclass of sources.FileSource, in a module of its own, and a line of FORMATS. A blank config names it then; the
README has to.
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

FORMATS = {
    ".csv": "csv_source:CsvSource",
    ".tsv": "csv_source:TsvSource",
    ".jsonl": "jsonl_source:JsonlSource",
    ".parquet": "sources:ParquetSource",
    ".arrow": "sources:ArrowSource",
}
"""The end of a table's name -> the module of launcher.manifest and the class that reads it."""


def open_source(entry: str, folder: Path, sizes: bool) -> "Source":
    """The source of an entry, which starts at ``folder`` if it is relative; ``sizes``: a glob has a column ``size``.

    Raises InputError where the entry is no file or of no known format.
    """
    from launcher.manifest.sources import GlobSource, display

    path = Path(os.path.normpath(folder / Path(entry).expanduser()))
    if os.path.isdir(path):
        pattern = f"{entry.rstrip('/')}/*.jpg"
        raise InputError(f"{display(path)}: is a folder; for its files write a pattern such as {pattern}")
    if not os.path.exists(path):
        if glob.has_magic(entry):
            return GlobSource(os.path.expanduser(entry), folder, sizes)
        names: list[str] = []
        with suppress(OSError):
            names = os.listdir(path.parent)
        raise InputError(f"{display(path)}: no such file (data.manifest){did_you_mean(nearest(path.name, names))}")
    if path.suffix.lower() not in FORMATS:
        valid = ", ".join(FORMATS)
        raise InputError(f"{display(path)}: unknown kind of manifest; valid: {valid}, or a pattern with *")
    module, _, name = FORMATS[path.suffix.lower()].partition(":")
    source_class: Callable[[Path], Source] = getattr(import_module(f"launcher.manifest.{module}"), name)
    return source_class(path)
