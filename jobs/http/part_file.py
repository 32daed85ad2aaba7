"""PartFile: a download on its way. It becomes NAME all at once, when it is whole.

What has arrived is in NAME.part; NAME.part.json, a Checkpoint, says where it came from and what it hashes to. A part that
does not match its checkpoint, after a crash of the machine perhaps, counts for nothing.
"""

import io
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from jobs.http.checksum import Checksum, new_hash
from jobs.storage.files import rename_synced, temporary_name, write_json
from jobs.storage.locks import has_name, try_lock

PART = ".part"
CHECKPOINT = ".part.json"
# Bytes between checkpoints: what a kill can cost. A download of less than that is simply begun anew.
_INTERVAL = 8 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """The first ``size`` bytes, of ``total``, of what ``url`` was while its ``validator`` (an ETag or a date) held."""

    url: str
    validator: str
    size: int
    sha256: str
    total: int | None = None


class PartialDownload:
    """What has arrived of one download, in ``file``: ``size`` bytes, hashed as they come.

    ``validator`` names the version of the url that they are of; "": none, so that nothing can be added later. ``total`` is
    the size of the whole, where the server has told it.
    """

    def __init__(self, url: str, checksum: Checksum | None, file: IO[bytes] | None = None) -> None:
        self.url = url
        self.file = io.BytesIO() if file is None else file
        self._expected = checksum
        self._begin("")

    def _begin(self, validator: str, total: int | None = None) -> None:
        self.validator, self.total = validator, total
        self.size = 0
        algorithms = {"sha256", self._expected.algorithm if self._expected else "sha256"}
        self._hashes = {name: new_hash(name) for name in algorithms}

    def restart(self, validator: str = "", total: int | None = None) -> None:
        """Forgets what has arrived; what follows is of the version that ``validator`` names."""
        self._begin(validator, total)
        self.file.seek(0)
        self.file.truncate()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self._count(data)

    def _count(self, data: bytes) -> None:
        self.size += len(data)
        for found in self._hashes.values():
            found.update(data)

    def digest(self, algorithm: str = "sha256") -> str:
        """Hash of what has arrived, hexadecimal."""
        digest: str = self._hashes[algorithm].hexdigest()
        return digest

    def mismatch(self) -> str | None:
        """What is wrong with the whole, where its checksum says so."""
        expected = self._expected
        if expected is None or self.digest(expected.algorithm) == expected.digest:
            return None
        return f"the {self.size} bytes that came do not match the {expected.algorithm} checksum"

    def content(self) -> bytes:
        """All that has arrived."""
        self.file.seek(0)
        return self.file.read()


class OwnFile(PartialDownload):
    """A PartialDownload in the file ``part``, which becomes ``path``; of one that does not come to that nothing stays."""

    def __init__(self, path: Path, part: Path, url: str, checksum: Checksum | None, file: IO[bytes]) -> None:
        super().__init__(url, checksum, file)
        self._path = path
        self._part = part
        self._finished = False

    def finish(self) -> None:
        """Makes it the file that it was on its way to; after that, it survives a crash of the machine."""
        self.file.flush()
        rename_synced(self._part, self._path)
        self._finished = True

    def close(self) -> None:
        if not self._finished:
            self._part.unlink(missing_ok=True)
        self.file.close()


class PartFile(OwnFile):
    """One that is locked while this object is open, and resumed from where it was left."""

    @classmethod
    def open(cls, path: Path, url: str, checksum: Checksum | None) -> OwnFile | None:
        """The part of the file ``path``; None while another process or task is at it.

        Where the file system knows no locks each of them has a file of its own.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + PART)
        file = part.open("a+b")
        is_locked = try_lock(file.fileno())
        if is_locked and has_name(file.fileno(), part):
            return cls(path, part, url, checksum, file)
        file.close()
        if is_locked is not None:
            return None
        part.unlink(missing_ok=True)
        own = temporary_name(path)
        return OwnFile(path, own, url, checksum, own.open("x+b"))

    def __init__(self, path: Path, part: Path, url: str, checksum: Checksum | None, file: IO[bytes]) -> None:
        super().__init__(path, part, url, checksum, file)
        self._checkpoint = path.with_name(path.name + CHECKPOINT)
        self._saved = 0
        self._resume()

    def _resume(self) -> None:
        found = None
        with suppress(OSError, ValueError, TypeError):  # there is none, or a crash of the machine damaged it
            found = Checkpoint(**json.loads(self._checkpoint.read_bytes()))
        self.file.seek(0)
        while found and self.size < found.size and (data := self.file.read(min(_BLOCK, found.size - self.size))):
            self._count(data)
        if found and found.url == self.url and (self.size, self.digest()) == (found.size, found.sha256):
            self.validator, self.total = found.validator, found.total
            self.file.truncate(self.size)
            self._saved = self.size
        else:
            self.restart()

    def restart(self, validator: str = "", total: int | None = None) -> None:
        super().restart(validator, total)
        self._saved = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.size - self._saved >= _INTERVAL and self.validator:
            self._save()

    def _save(self) -> None:
        self.file.flush()
        checkpoint = Checkpoint(self.url, self.validator, self.size, self.digest(), self.total)
        write_json(self._checkpoint, asdict(checkpoint))
        self._saved = self.size

    def finish(self) -> None:
        super().finish()
        self._checkpoint.unlink(missing_ok=True)

    def close(self) -> None:
        """Keeps what can be resumed, and removes the rest."""
        if not self._finished and self.size and self.validator:
            self._save()
            self.file.close()
            return
        if not self._finished:
            self._checkpoint.unlink(missing_ok=True)
        super().close()
