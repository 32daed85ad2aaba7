"""Downstream: the runs that wait for a run to be complete, a note of each in that one's folder; whoever ends it starts them.

The note says with which settings. It is written before anybody is told that the run waits, and goes once it was started: a kill
in between has it started again, which finds that there is nothing to do. Of a run that reads what the other one has stored a
note stays, so that this is not removed meanwhile.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import xxhash

from jobs.storage import checked_json
from jobs.storage.files import exists, intact, write_bytes
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream


@dataclass(frozen=True)
class Waiting:
    """A run that waits, by its directory, with the settings that it is to be submitted with; ``profiles``: what set which.

    ``options`` are those of its scheduler that its user's environment said. ``problem``: why it could not be submitted, when it
    could have begun. ``has_begun``: it waits no more, and reads what the other run has stored. One that overlaps with that
    waits as well while it computes: array tasks may have left samples that were not there.
    """

    run: str
    config: Mapping[str, Any]
    profiles: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    has_begun: bool = False

    def write(self, upstream: RunDir) -> None:
        upstream.downstream.mkdir(exist_ok=True)
        write_bytes(note_path(upstream, RunDir(Path(self.run))), checked_json.encode(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        data = checked_json.decode(path.read_bytes())
        told = data["run"], data["config"], data["profiles"], data["options"], data["problem"]
        return cls(*told, data["has_begun"])

    def failed(self, problem: str) -> Self:
        return replace(self, problem=problem)


def note_path(upstream: RunDir, run: RunDir) -> Path:
    """The file that says that one waits for the other, or reads it."""
    path = str(run.path.absolute())  # two runs of one name may wait, of two folders
    return upstream.downstream / f"{run.name}-{xxhash.xxh3_64_hexdigest(path.encode(errors='surrogateescape'))}.json"


def notes_of(upstream: RunDir) -> list[Path]:
    """The files of the runs that wait for one."""
    return sorted(upstream.downstream.glob("*.json"))


def read_note(path: Path) -> Waiting | None:
    """None where it is gone: the run was started, or waits no more. Raises RunError where it is damaged."""
    try:
        return intact(path, Waiting.read, "remove it, and submit that run again")
    except FileNotFoundError:
        return None


def waiting_for(upstream: RunDir) -> list[Waiting]:
    """The runs that wait for one. Raises RunError where a note is damaged."""
    return [known for known in map(read_note, notes_of(upstream)) if known and not known.has_begun]


def how_it_waits(run: RunDir, plan: Plan) -> Waiting | None:
    """Of a run: with what it waits, for any of those that it comes after; None where nobody is going to start it."""
    found = (read_note(note_path(RunDir(Path(path)), run)) for path in plan.after)
    return next((known for known in found if known and not known.has_begun), None)


def forget(run: RunDir, plan: Plan) -> list[RunDir]:
    """It waits no more, and still reads what it has begun with; returns for which runs it waited."""
    known = []
    for before in (RunDir(Path(path)) for path in plan.after):
        note = read_note(path := note_path(before, run))
        if note and not note.has_begun:
            path.unlink(missing_ok=True)
            known.append(before)
    if known and run.submission_numbers():
        hold(run, plan)
    return known


def begin(run: RunDir, plan: Plan) -> None:
    """It waits no more, and reads what the run has stored whose samples it has."""
    forget(run, plan)
    hold(run, plan)


def hold(run: RunDir, plan: Plan) -> None:
    """From now on the run stays as it is whose samples this one has; a note that this one waits says so too, and is left."""
    upstream = Upstream.of(plan)
    if upstream and not exists(note_path(upstream.directory, run)):
        with suppress(OSError):  # a run of another user's, who has to know by himself
            Waiting(str(run.path.absolute()), {}, has_begun=True).write(upstream.directory)
