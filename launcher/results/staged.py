"""Staged: results of stores, as copies on this machine's own disk (TMPDIR): HDF5 files are read at many places, and mapped.

A copy comes whole before anything of it is read, and goes when it is closed, or with its process.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import xxhash

from jobs.errors import DamageError, InputError, RunError
from jobs.gather.result_index import indexed_files
from jobs.references.sent_file import SentFile
from jobs.references.stores import check_url, describe, read_chunks
from jobs.references.uploads import explained, hash_of
from launcher.results.results import Results
from launcher.results.split_table import open_result


class StagedResults(Results):
    """The result at a ``url``, read from a copy in ``folder``, which goes when it is closed.

    In a process that was forked meanwhile, or got it sent (a DataLoader's worker), it is the same copy, which stays then.
    """

    def __init__(self, path: Path, url: str, folder: Path) -> None:
        super().__init__(open_result(path))
        self.path = url
        self._folder, self._owner = folder, os.getpid()
        weakref.finalize(self, _remove, folder, self._owner)

    @property
    def shortfall(self) -> str:
        return super().shortfall.replace(str(self.table.path), str(self.path))

    def close(self) -> None:
        super().close()
        _remove(self._folder, self._owner)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def open_url(url: str, files: Sequence[SentFile] = ()) -> StagedResults:
    """Opens the result at a URL; ``files`` are all objects of it, where somebody knows what they are to be.

    Raises InputError where there is none, DamageError where it is not as it was written, RunError where the store does not
    give it, or it does not fit onto this machine's disk.
    """
    check_url(url)
    folder = Path(tempfile.mkdtemp(prefix="launcher-result-"))
    copy = folder / url.rpartition("/")[2]
    try:
        if not files:
            _fetch_unknown(url, copy)
        if problems := list(fetch(files, folder)):
            raise DamageError("\n".join(problems))
        return StagedResults(copy, url, folder)
    except (InputError, DamageError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise type(error)(str(error).replace(str(copy), url)) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def fetch(files: Sequence[SentFile], folder: Path) -> Iterator[str]:
    """Copies objects into a folder; what is not as it was written, in words. Raises RunError as ``open_url`` does."""
    return _compared(files, lambda url: _copy(url, folder))


def differing(files: Sequence[SentFile]) -> Iterator[str]:
    """Reads objects; what is not as it was written, in words. Raises RunError where the store does not give them."""
    return _compared(files, hash_of)


def _compared(files: Sequence[SentFile], read: Callable[[str], str]) -> Iterator[str]:
    for file in files:
        try:
            if read(file.url) != file.hash:
                yield f"{file.url}: has other bytes than were written there"
        except FileNotFoundError:
            yield f"{file.url}: is gone"
        except OSError as error:
            raise RunError(f"{explained(error)}; it cannot be read from here") from error


def _fetch_unknown(url: str, copy: Path) -> None:
    """Copies a result, and the files that it is the index of."""
    try:
        _copy(url, copy.parent)
        for file in indexed_files(copy):
            url = f"{url.rpartition('/')[0]}/{file.path.name}"
            _copy(url, copy.parent)
    except FileNotFoundError:
        raise InputError(f"{url}: there is no such object") from None


def _copy(url: str, folder: Path) -> str:
    """Copies an object; returns the hash of its bytes. Raises FileNotFoundError."""
    found = xxhash.xxh3_128()
    try:
        size, free = describe(url).size, shutil.disk_usage(folder).free
        if size > free:
            raise RunError(
                f"{url}: has {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder.parent}, where it is read from: "
                "set TMPDIR to a folder with more room"
            )
        with (folder / url.rpartition("/")[2]).open("wb") as file:
            for chunk in read_chunks(url):
                found.update(chunk)
                file.write(chunk)
        return found.hexdigest()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{url}: cannot be copied to {folder}: {explained(error)}") from error
