"""ListedRun: a run in a list: its status, or why that cannot be read, whose it is, how old and how large."""

import os
import pwd
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.errors import LauncherError
from jobs.storage.rundir import RunDir
from launcher.runs.find import last_change, reference
from launcher.runs.set_aside import was_set_aside
from launcher.status.complete import CompleteRun, read_complete
from launcher.status.progress import brief_line
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.table import table_lines
from launcher.units import age, decimal_size
from launcher.visible import on_one_line

if TYPE_CHECKING:
    from launcher.documents.lists import ListedDocument, OwnDocument, UnreadableDocument

COLUMNS = ("run", "name", "state", "changed", "size", "owner", "samples", "ok", "failed", "missing", "error")
UNREADABLE = "unreadable"
_HEADS = ("run", "state", "changed", "size", "owner", "samples")


@dataclass(frozen=True)
class ListedRun:
    """``error`` says why there is no ``status``. ``changed``: when it was planned, submitted or ended.

    ``size``: bytes of all that is in its folder, where they are counted. ``is_aside``: another run has taken its name.
    """

    run: RunDir
    changed: float
    owner: str
    status: Status | CompleteRun | None
    error: str = ""
    size: int | None = None
    is_aside: bool = False

    @property
    def state(self) -> str:
        return self.status.state if self.status else UNREADABLE

    def to_json(self) -> "ListedDocument | UnreadableDocument":
        """An entry of ``launcher list --json``: that of ``status --json``, and whose, how old and how large it is."""
        own: OwnDocument = {
            "set_aside": self.is_aside,
            "name": self.run.name,
            "changed": round(self.changed, 1),
            "owner": self.owner,
            "size": self.size,
        }
        if isinstance(self.status, Status):
            return {**self.status.to_json(), **own}
        return {"run": str(self.run.path), "error": self.error, **own}

    def line(self) -> dict[str, Any]:
        """Its ``COLUMNS``."""
        counts = {name: getattr(self.status, name, None) for name in ("ok", "failed", "missing")}
        total = self.status.total if self.status else None
        return {**self.to_json(), "state": self.state, "samples": total, **counts}

    def words(self) -> tuple[str, ...]:
        """For a table."""
        size = "" if self.size is None else decimal_size(self.size)
        told = brief_line(self.status) if self.status else on_one_line(self.error)
        told = f"set aside; {told}" if self.is_aside else told
        since = age(time.time() - self.changed)
        return on_one_line(reference(self.run)), self.state, since, size, on_one_line(self.owner), told


def read_whole(run: RunDir) -> Status:
    """All that is told of a run."""
    return StatusReader(run).read()


def read_brief(run: RunDir) -> Status | CompleteRun:
    """What a line tells: of a run that is complete, without a look at its attempts."""
    return read_complete(run) or read_whole(run)


def look_at(run: RunDir, read: Callable[[RunDir], Status | CompleteRun], *, with_size: bool) -> ListedRun:
    """One that cannot be read does not hide the others: files cut short or of another kind, and not for our eyes."""
    status, error = None, ""
    try:
        status = read(run)
    except LauncherError as problem:
        error = str(problem)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        error = f"{run.path}: cannot be read ({type(problem).__name__}: {problem})"
    size = _size(run) if with_size else None
    return ListedRun(run, last_change(run) or 0.0, owner_of(run), status, error, size, was_set_aside(run))


def owner_of(run: RunDir) -> str:
    """Who has planned it: whose its plan is."""
    try:
        number = run.plan.stat().st_uid
        return pwd.getpwuid(number).pw_name
    except OSError:
        return ""
    except KeyError:  # of another machine, or of a container
        return str(number)


def _size(run: RunDir) -> int:
    found = 0
    for folder, _, names in os.walk(run.path):
        for name in names:
            try:
                found += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # gone since, or not for our eyes
                continue
    return found


def list_lines(runs: Sequence[ListedRun]) -> list[str]:
    """A table of them."""
    return list(table_lines(_HEADS, [run.words() for run in runs], right={"size"}))
