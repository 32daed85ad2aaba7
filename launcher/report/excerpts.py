"""Excerpts: what the logs of array tasks say of a cause of failures."""

from collections.abc import Sequence
from pathlib import Path

from jobs.storage.rundir import RunDir
from launcher.runs.failures import FailureGroup
from launcher.runs.history import History
from launcher.runs.holders import log_of

# Bytes that are read of a log, and lines that are shown of it.
_READ = 1 << 19
_BEFORE, _FEW = 24, 3
_LAST = 25


def excerpt(run: RunDir, group: FailureGroup, histories: Sequence[History]) -> tuple[Path, str] | None:
    """A log of an attempt that met it, with the lines about it; None where no log tells anything."""
    for history in histories:
        beat = history.attempt.beat
        if group.samples:
            met = any(one.kind == group.kind and one.message == group.message for one in beat.failures)
        else:
            met = beat.kind == group.kind or any(one.kind == group.kind for one in beat.given_up)
        if met and (text := _about(log := log_of(run, history.attempt), group, beat.log)):
            return log, text
    return None


def _about(log: Path, group: FailureGroup, length: int) -> str:
    """The lines around the message; of an attempt that failed as a whole, its last ones."""
    try:
        with log.open("rb") as file:
            until = length or log.stat().st_size  # what comes after that is a later attempt's
            file.seek(max(0, until - _READ))
            lines = file.read(min(_READ, until)).decode(errors="replace").splitlines()
    except OSError:
        return ""
    message = group.message.splitlines()[0].strip() if group.message else ""
    place = next((number for number, line in enumerate(lines) if message and message in line), None)
    shown = lines[-_LAST:] if place is None else lines[_first(lines, place, str(group.kind)) : place + 1]
    return "\n".join(shown)


def _first(lines: Sequence[str], place: int, kind: str) -> int:
    """Where it is said which sample failed, or where the traceback begins that ends with a message; or some lines before it."""
    above = range(place - 1, max(-1, place - _BEFORE), -1)
    if f"failed ({kind})" in lines[place]:
        return max(0, place - _FEW)
    for head in (f"failed ({kind})", "Traceback (most recent"):
        if found := [at for at in above if head in lines[at]]:
            return found[0]
    return max(0, place - _FEW)
