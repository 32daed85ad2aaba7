"""Given: what a script or notebook gave to a run, as files in the run directory, named by what is in them.

So nothing there is ever written over: code that is another one lies beside what was computed with the one before.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import xxhash

from jobs.storage.files import fsync_folder
from jobs.storage.rundir import RunDir
from launcher.plan.runs_folder import made_for_good

_DIGITS = 12


class Given:
    """The files that one planning makes. As a context manager: what is new of them goes again where planning fails."""

    def __init__(self, run: RunDir) -> None:
        self._folder = run.given
        self._new: list[Path] = []
        self._stack = ExitStack()
        self._is_made = False

    def module(self, name: str, text: str) -> Path:
        """A folder with a module of this text."""
        return self._put(
            f"code-{xxhash.xxh3_128_hexdigest(text.encode())[:_DIGITS]}", lambda path: _write_module(path, name, text)
        )

    def samples(self, write: Callable[[Path], None]) -> Path:
        """A file that ``write`` writes."""
        with self._temporary() as path:
            write(path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
            return self._put(f"samples-{digest[:_DIGITS]}.arrow", lambda place: os.rename(path, place))

    def _put(self, name: str, make: Callable[[Path], None]) -> Path:
        place = self._folder / name
        if not place.exists():
            with self._temporary() as path:
                make(path)
                try:
                    os.rename(path, place)
                except OSError:  # a folder that another launcher was quicker to make
                    if not place.exists():
                        raise
                self._new.append(place)
                fsync_folder(self._folder)
        return place

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        if not self._is_made:
            self._stack.enter_context(made_for_good(self._folder))
            self._is_made = True
        path = self._folder / f".{secrets.token_hex(4)}.tmp"
        try:
            yield path
        finally:
            _remove(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for path in self._new if kind else ():
            _remove(path)
        self._stack.__exit__(kind, error, traceback)


def _write_module(folder: Path, name: str, text: str) -> None:
    folder.mkdir()
    (folder / f"{name}.py").write_text(text, encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
