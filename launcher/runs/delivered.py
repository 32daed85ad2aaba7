"""Delivered: that a result is in a store, as which objects; written once these were seen there, so that status need not ask."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from jobs.references.sent_file import SentFile
from jobs.storage import checked_json
from jobs.storage.files import intact, write_bytes
from jobs.storage.rundir import RunDir


@dataclass(frozen=True)
class Delivered:
    """``url`` is that of the result, or of its index, the last of all ``files``. ``seal``: "" of one that is not complete.

    ``format``: of another program, "" for HDF5; None: not noted. ``elsewhere``: URLs of what the run has put into other places.
    Written before, too, the first time and of a folder, without hashes of what is on its way; so is that of a run in the place
    of another.
    """

    url: str
    seal: str
    files: tuple[SentFile, ...]
    time: float = field(default_factory=time.time)
    format: str | None = None
    elsewhere: tuple[str, ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether all were seen in the store; of files that are on their way only the names are known."""
        return all(file.hash for file in self.files)

    @property
    def own(self) -> set[str]:
        """URLs of all objects that the run has put anywhere, or has begun to."""
        return {*self.elsewhere, *(file.url for file in self.files)}

    def as_names(self) -> Self:
        """The same objects, of which nothing is said but that a result may take their place."""
        return dataclasses.replace(self, seal="", files=tuple(dataclasses.replace(one, hash="") for one in self.files))

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def write(self, run: RunDir, manifest: str | None) -> None:
        write_bytes(run.delivered(manifest), checked_json.encode(dataclasses.asdict(self)))

    @classmethod
    def read(cls, run: RunDir, manifest: str | None) -> Self | None:
        """None where nothing was delivered. Raises RunError where it is damaged."""
        path = run.delivered(manifest)
        try:
            return intact(
                path, cls._from, f"it says what is in the store. Remove it, then: launcher gather {run.argument}"
            )
        except FileNotFoundError:
            return None

    @classmethod
    def _from(cls, path: Path) -> Self:
        data = checked_json.decode(path.read_bytes())
        lists = {
            "files": tuple(SentFile(**file) for file in data["files"]),
            "elsewhere": tuple(data.get("elsewhere", ())),
        }
        return cls(**{**data, **lists})
