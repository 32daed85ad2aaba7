"""Attendant: the `launcher run` that ends a run's submissions where no job of the scheduler does.

There is one at a time: of the files submissions/attendant.N the one with the highest N names it. Whoever finds that one dead
makes the next, which only one of several can, and a holder that finds a newer one leaves. So no lock is needed, and two that
are at it for a moment do no harm: of their retries one is withdrawn, and results are whole or not there.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from jobs.errors import RunError
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage import checked_json
from jobs.storage.files import publish, refresh_names, temporary_name
from jobs.storage.rundir import RunDir
from launcher.runs.find import reference
from launcher.runs.signs import lives, touching


class AttendedElsewhere(RunError):
    """Another `launcher run` ends what this one would."""


def find_attendant(run: RunDir) -> ProcessIdentity | None:
    """Who attends the run now, as far as this machine can tell."""
    found = _newest(run)
    return _owner(run, found) if found else None


class Attendant:
    """This process as a run's attendant, while it is open. Raises AttendedElsewhere where another one is that."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._path = run.attendant(0)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        before = _newest(self._run)
        if before and (other := _owner(self._run, before)):
            raise AttendedElsewhere(_attended(self._run, other))
        self._path = self._run.attendant(_number(before) + 1 if before else 1)
        temporary = temporary_name(self._path)
        try:
            temporary.write_bytes(checked_json.encode(ProcessIdentity.current().to_json()))
            if not publish(temporary, self._path):
                raise AttendedElsewhere(_attended(self._run, find_attendant(self._run)))
        finally:
            temporary.unlink(missing_ok=True)
        for path in _all(self._run):
            if _number(path) < _number(self._path):
                path.unlink(missing_ok=True)
        self._open.enter_context(touching([self._path]))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises AttendedElsewhere where another one has taken over, since nothing was seen of this one for long."""
        newest = _newest(self._run)
        if newest and _number(newest) > _number(self._path):
            raise AttendedElsewhere(_attended(self._run, find_attendant(self._run)))


def _attended(run: RunDir, other: ProcessIdentity | None) -> str:
    who = f"process {other.pid} on {other.host}" if other else "another process"
    watch = f"launcher status {reference(run)} --watch"
    return f"{run.path}: `launcher run` is at it already, {who}; follow it with `{watch}`"


def _all(run: RunDir) -> list[Path]:
    refresh_names(run.submissions)
    return [path for path in run.submissions.glob("attendant.*") if path.suffix[1:].isdecimal()]


def _newest(run: RunDir) -> Path | None:
    return max(_all(run), key=_number, default=None)


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _owner(run: RunDir, path: Path) -> ProcessIdentity | None:
    """The process that a file names, if that lives."""
    try:
        process, touched = checked_json.decode(path.read_bytes()), path.stat().st_mtime
    except (FileNotFoundError, ValueError):  # it has just left; or its machine crashed
        return None
    return ProcessIdentity.from_json(process) if lives(process, touched, run.path) else None
