"""Downstream: has a run wait for those before it, and starts what waits for a run that is complete.

Whoever ends a run does that: no process waits, on no login node, and what heals the run, a rerun, goes on with those after it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import ConflictError, LauncherError
from jobs.kinds import RunState
from jobs.storage.files import exists, is_file, is_there
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream
from launcher.executors import choose_executor
from launcher.runs.downstream import Waiting, forget, note_path, notes_of, read_note
from launcher.runs.submissions import Outcome
from launcher.status.chain import Link
from launcher.status.reader import StatusReader
from launcher.submit.turn import blocking, note, unfinished

if TYPE_CHECKING:
    from launcher.config.config import Config

# Another one may be quicker to plan the run, and then to submit it.
_CONFLICTS = 2


def wait(run: RunDir, config: Config) -> Link | None:
    """Has a run started once those before it are complete; returns the one that it waits for, None where they are now."""
    before = unfinished(run)
    is_known = any(exists(note_path(one, run)) for one in before)
    for one in before:
        note(run, config, one)
    link = blocking(run)  # it may have ended before it could see that somebody waits
    if link is None and not (is_known and unfinished(run)):  # one that is at work may wait for the rest
        forget(run, Plan.read(run.plan))
    return link


def start_waiting(run: RunDir, temporary: tuple[type[LauncherError], ...] = ()) -> None:
    """Starts the runs that wait for this one, if it is complete, and for nothing else; goes on with itself, if it waits.

    What goes wrong with one is told by its status, and raised only where it is ``temporary``: the caller can try again.
    """
    problems = [_start_noted(before, path) for before, path in [*_own_notes(run), *((run, p) for p in _notes(run))]]
    if raised := next((problem for problem in problems if isinstance(problem, temporary)), None):
        raise raised


def start_overlapping(run: RunDir) -> None:
    """Starts the runs that wait for this one to begin, now that it does."""
    for path in notes_of(run):
        with suppress(LauncherError, OSError):
            waiting = read_note(path)
            upstream = Upstream.of(Plan.read(RunDir(Path(waiting.run)).plan)) if waiting else None
            if upstream and upstream.overlaps:
                _start_noted(run, path)


def _start_noted(before: RunDir, path: Path) -> LauncherError | OSError | None:
    """Starts a run that waits for the one ``before`` it; returns what went wrong."""
    waiting: Waiting | None = None
    try:
        waiting = read_note(path)
        if waiting and not waiting.has_begun:
            _start(waiting)
    except (LauncherError, OSError) as error:
        print(f"{waiting.run if waiting else path}: {error}", flush=True)
        with suppress(LauncherError, OSError):
            if (note := read_note(path)) and not note.has_begun:  # else somebody was quicker, and has started it
                note.failed(str(error)).write(before)
        return error
    return None


def _own_notes(run: RunDir) -> list[tuple[RunDir, Path]]:
    """That the run itself has left some of its samples to be done once the run is complete that it overlapped with.

    One that has failed waits for a person.
    """
    try:
        upstream = Upstream.of(Plan.read(run.plan))
        if not (upstream and upstream.overlaps) or _was_stopped(run) or unfinished(run, overlapping=True):
            return []
        if StatusReader(run).read().state is RunState.FAILED:
            return []
        return [(upstream.directory, note_path(upstream.directory, run))]
    except (LauncherError, OSError) as error:
        print(f"{run.path}: {error}", flush=True)
        return []


def _was_stopped(run: RunDir) -> bool:
    """Whether somebody has ended its last submission, and wants no other one by that."""
    numbers = run.submission_numbers()
    outcome = Outcome.read(run, numbers[-1]) if numbers else None
    return outcome is not None and outcome.was_stopped


def _notes(run: RunDir) -> list[Path]:
    """Of a run that is complete, the notes of those that wait for it."""
    found = notes_of(run)
    try:
        return found if found and StatusReader(run).read().state is RunState.COMPLETE else []
    except (LauncherError, OSError) as error:  # it has told that it ended: this is of those that come after it
        print(f"{run.path}: {error}", flush=True)
        return []


def _start(waiting: Waiting) -> None:
    """Starts it, or sees that somebody else has, who may be at it at this moment: he plans it anew, too."""
    run = RunDir(Path(waiting.run))
    is_there(run.plan)  # if not, what follows says so
    for _ in range(_CONFLICTS):
        with suppress(ConflictError):
            return _begin(run, waiting)
    return _begin(run, waiting)


def _begin(run: RunDir, waiting: Waiting) -> None:
    # Few runs have one that waits.
    from launcher.config.config import config_from_mapping
    from launcher.plan.guard import config_path
    from launcher.plan.plan import go_on
    from launcher.submit.submit import select_rows, submit

    plan = Plan.read(run.plan)
    if blocking(run):
        return  # the last one of several starts it; or it waits for the run that this one is a copy of
    config = config_from_mapping(waiting.config, config_path(plan), profiles=waiting.profiles)
    planned = go_on(run, plan, config)
    upstream = Upstream.of(planned.plan)
    selection = select_rows(run, planned.plan, failed=not (upstream and upstream.overlaps))
    if selection.rows:
        for made in submit(run, config, selection, options=waiting.options):
            print(f"{run.path}: submission {made.number}: {choose_executor(made.executor).place(made)}", flush=True)
        start_overlapping(run)
    elif not (selection.running or unfinished(run)):  # somebody has submitted it, or it has taken all that it waits for
        forget(run, planned.plan)
    # Else its own end sees what is left to do, samples that were not there, or the other run's, which may do some again.


def readers_of(run: RunDir) -> list[RunDir]:
    """The runs that are not complete, and need what this one has stored."""
    known = (RunDir(Path(note.run)) for note in map(read_note, notes_of(run)) if note)
    found = [other for other in known if is_file(other.plan)]
    return [other for other in found if StatusReader(other).read().state is not RunState.COMPLETE]
