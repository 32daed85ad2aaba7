"""Given: what a script or notebook gave to a run, as files in the run directory, named by what is in them.

So nothing there is ever written over: code that is another one lies beside what was computed with the one before.
"""

import filecmp
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import xxhash

from jobs.errors import ConflictError
from jobs.storage.files import fsync_folder, rename_synced, write_bytes
from jobs.storage.rundir import RunDir
from launcher.plan.runs_folder import made_for_good

_DIGITS = 12


class Given:
    """The files that one planning makes. As a context manager: what is new of them goes again where planning fails."""

    def __init__(self, run: RunDir) -> None:
        self._run, self._folder = run, run.given
        self._new: list[Path] = []
        self._all: list[Path] = []
        self._stack = ExitStack()
        self._is_made = False

    def module(self, name: str, text: str) -> Path:
        """A folder with a module of this text."""
        data = text.encode(errors="surrogatepass")
        place = self._folder / f"code-{xxhash.xxh3_128_hexdigest(data)[:_DIGITS]}"
        file = place / f"{name}.py"
        self._note(place)
        if not file.is_file() or file.read_bytes() != data:  # a machine may have crashed that wrote it
            self._make_folder()
            place.mkdir(exist_ok=True)
            write_bytes(file, data)
            fsync_folder(self._folder)
        return place

    def samples(self, write: Callable[[Path], None]) -> Path:
        """A file that ``write`` writes."""
        with self._temporary() as path:
            write(path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
            place = self._folder / f"samples-{digest[:_DIGITS]}.arrow"
            self._note(place)
            if not place.is_file() or not filecmp.cmp(path, place, shallow=False):
                rename_synced(path, place)
        return place

    def _note(self, place: Path) -> None:
        self._all.append(place)
        if not place.exists():
            self._new.append(place)

    def _make_folder(self) -> None:
        if not self._is_made:
            self._stack.enter_context(made_for_good(self._folder))
            self._is_made = True

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        self._make_folder()
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
        try:
            for path in self._new if kind else ():
                self._take_back(path)
            if not kind and (gone := [path for path in self._all if not path.exists()]):
                raise ConflictError(
                    f"{gone[0]}: another launcher that planned this run at this moment has removed it; plan it again"
                )
        finally:
            self._stack.__exit__(kind, error, traceback)

    def _take_back(self, path: Path) -> None:
        """Removes what no plan names: another launcher may have planned with it, or this one, before it was interrupted.

        It loses its name before the plan is read; who writes a plan looks at the names after that. So one of both sees the
        other. Where the plan cannot be read, it may name it.
        """
        away = path.with_name(f".{secrets.token_hex(4)}.tmp")
        with suppress(OSError):
            os.rename(path, away)
            if self._may_be_named(path.name):
                os.rename(away, path)
            else:
                _remove(away)

    def _may_be_named(self, name: str) -> bool:
        try:
            return name.encode() in self._run.plan.read_bytes()
        except FileNotFoundError:
            return False
        except OSError:
            return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
