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
from jobs.references.array_group import INSIDE, ZARR_MARKS
from jobs.references.stores import check_url, is_url, local_path
from launcher.manifest.braces import braced

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
HDF5 = (".h5", ".hdf5")
_ARRAYS = f"{' and '.join(HDF5)} files and .zarr stores"
_PACKED_TARS = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.lz4")

PACKED = (".gz", ".zst")
"""What may stand behind the end of a text file's name."""

KINDS = (
    f"{' '.join((*FORMATS, TAR, *HDF5))} file (text also {' or '.join(PACKED)}), a folder of .parquet files, of save_to_disk "
    "of datasets, a .zarr store"
)
"""All kinds of tables, in words."""


def written_out(entry: str, folder: Path) -> list[str]:
    """The entries that one with braces stands for; tars stay one entry, of which there may be thousands."""
    if entry.lower().endswith(TAR) or os.path.exists(folder / Path(entry).expanduser()):
        return [entry]
    return list(braced(entry))


def open_source(entry: str, folder: Path, wanted: Collection[str | None]) -> "Source":
    """The source of an entry, which starts at ``folder`` if it is relative; ``wanted``: columns that the config names.

    Raises InputError where the entry is no file or of no known format.
    """
    entry = local_path(entry)
    if is_url(entry):
        check_url(entry)
    if entry.lower().endswith(TAR):
        return _open_tars(entry, folder, "size" in wanted)
    if not glob.has_magic(entry) and entry.lower().endswith(_PACKED_TARS):
        raise InputError(
            f"{entry}: a compressed tar has to be unpacked from its beginning to reach any of its files; unpack it to .tar: "
            "its files are mostly compressed themselves (data.manifest)"
        )
    if is_url(entry):
        return _open_url(entry, "size" in wanted)
    from launcher.manifest.sources import GlobSource, display

    path, inside = _split(entry, folder)
    if kind := _array_kind(path):
        from launcher.manifest.array_source import ArraySource

        return ArraySource(kind, path, inside)
    if inside and os.path.exists(path):
        raise InputError(
            f"{entry}: nothing is named within such a file; {INSIDE} stands behind {_ARRAYS} (data.manifest)"
        )
    if os.path.isdir(path):
        return _open_folder(path, entry, wanted)
    if not os.path.exists(path):
        if glob.has_magic(entry):
            return GlobSource(os.path.expanduser(entry), folder, "size" in wanted)
        raise _missing(path)
    _check_file(path)
    reader = _format(path.name.lower())
    if reader is None:
        raise InputError(f"{display(path)}: unknown kind of manifest; valid: a {KINDS}, or a pattern with *")
    return _source_class(reader)(path)


def _source_class(reader: str) -> Callable[[Path], "Source"]:
    module, _, name = reader.partition(":")
    found: Callable[[Path], Source] = getattr(import_module(f"launcher.manifest.{module}"), name)
    return found


def _open_url(url: str, size: bool) -> "Source":
    """The table at a URL, or the objects that match one."""
    from launcher.manifest.remote_source import RemotePattern, RemoteTable

    if glob.has_magic(url):
        return RemotePattern(url, size)
    reader = _format(url.rpartition("/")[2].lower())
    if reader is None:
        valid = f"{' '.join((*FORMATS, TAR))} (text also {' or '.join(PACKED)}), or a pattern with *"
        raise InputError(f"{url}: unknown kind of manifest in a store; valid: {valid}; copy others to a shared disk")
    return RemoteTable(url, _source_class(reader))


def _split(entry: str, folder: Path) -> tuple[Path, str]:
    """The path of an entry, and what it names within the file, if anything."""
    whole = Path(os.path.normpath(folder / Path(entry).expanduser()))
    path, is_inside, inside = entry.partition(INSIDE)
    if not is_inside or os.path.exists(whole):
        return whole, ""
    return Path(os.path.normpath(folder / Path(path).expanduser())), inside


def _array_kind(path: Path) -> str | None:
    """Of the files and folders that hold arrays."""
    if path.suffix.lower() in HDF5 and os.path.isfile(path):
        return "hdf5"
    is_store = os.path.isdir(path) and any((path / note).exists() for note in ZARR_MARKS)
    return "zarr" if is_store else None


def _open_tars(entry: str, folder: Path, size: bool) -> "Source":
    from launcher.manifest.tar_source import TarSource, find_tars

    names = find_tars(os.path.expanduser(entry), folder)
    files = [(name, name if is_url(name) else os.path.normpath(folder / name)) for name in names]
    for path in (Path(place) for _, place in files if not is_url(place)):
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

    if os.path.isdir(path):
        raise InputError(f"{display(path)}: is a folder, not a file (data.manifest)")
    if not os.path.isfile(path):  # to read a pipe, twice, is to wait for ever; a device has no end
        raise InputError(
            f"{display(path)}: is no file but a pipe, socket or device (data.manifest); write it to a file"
        )


def _format(name: str) -> str | None:
    """Who reads a file of that name, in small letters."""
    base, end = os.path.splitext(name)
    return TEXT.get(os.path.splitext(base)[1]) if end in PACKED else FORMATS.get(end)


def _open_folder(path: Path, entry: str, wanted: Collection[str | None]) -> "Source":
    from launcher.manifest.parquet_folder import ParquetFolder, parquet_files
    from launcher.manifest.saved_dataset import SPLITS, STATE, SavedDataset
    from launcher.manifest.sources import display

    if (path / STATE).is_file():
        return SavedDataset(path, wanted)
    if (path / SPLITS).is_file():
        named = ", ".join(
            f"{one.parent.name}: {entry.rstrip('/')}/{one.parent.name}" for one in sorted(path.glob(f"*/{STATE}"))
        )
        raise InputError(f"{display(path)}: has several splits; name one, or several with a result each: {{{named}}}")
    if parquet_files(path):
        return ParquetFolder(path)
    pattern = f"{entry.rstrip('/')}/*.jpg"
    raise InputError(
        f"{display(path)}: is a folder without .parquet files; for its files write a pattern such as {pattern}"
    )
