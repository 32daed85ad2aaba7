"""Downstream: has a run wait for those before it, and starts what waits for a run that is complete.

Whoever ends a run does that: no process waits, on no login node, and what heals the run, a rerun, goes on with those after it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import ConflictError, InputError, LauncherError
from jobs.kinds import RunState
from jobs.storage.files import is_file, is_there
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.executors import choose_executor
from launcher.runs.downstream import Waiting, forget, notes_of, read_note
from launcher.runs.find import reference
from launcher.status.chain import Link
from launcher.status.reader import StatusReader
from launcher.submit.turn import blocking

if TYPE_CHECKING:
    from launcher.config.config import Config

# Another one may be quicker to plan the run, and then to submit it.
_CONFLICTS = 2


def wait(run: RunDir, config: Config) -> Link | None:
    """Has a run started once those before it are complete; returns the one that it waits for, None where they are now."""
    executor = choose_executor(config.executor)
    # What this shell says holds, not that of a node: its variables, and whether there is a scheduler.
    mapping = {**config.to_mapping(), "executor": executor.name}
    waiting = Waiting(str(run.path.absolute()), mapping, config.profiles, dict(executor.resources(config).options))
    for before in map(RunDir, map(Path, Plan.read(run.plan).after)):
        if StatusReader(before).read().state is not RunState.COMPLETE:
            try:
                waiting.write(before)
            except OSError as error:
                raise InputError(
                    f"{error.filename}: {error.strerror}; so {reference(run)} cannot wait for {reference(before)}: "
                    "submit it when that is complete"
                ) from None
    link = blocking(run)  # it may have ended before it could see that somebody waits
    if link is None:
        forget(run, Plan.read(run.plan))
    return link


def start_waiting(run: RunDir, temporary: tuple[type[LauncherError], ...] = ()) -> None:
    """Starts the runs that wait for this one, if it is complete, and for nothing else.

    What goes wrong with one is told by its status, and raised only where it is ``temporary``: the caller can try again.
    """
    raised: LauncherError | None = None
    for path in _notes(run):
        waiting: Waiting | None = None
        try:
            waiting = read_note(path)
            if waiting and not waiting.has_begun:
                _start(waiting)
        except (LauncherError, OSError) as error:
            print(f"{waiting.run if waiting else path}: {error}", flush=True)
            with suppress(LauncherError, OSError):
                if (note := read_note(path)) and not note.has_begun:  # else somebody was quicker, and has started it
                    note.failed(str(error)).write(run)
            raised = error if isinstance(error, temporary) else raised
    if raised:
        raise raised


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
    selection = select_rows(run, planned.plan)
    if not selection.rows:  # somebody has submitted it meanwhile
        forget(run, planned.plan)
    else:
        for made in submit(run, config, selection, options=waiting.options):
            print(f"{run.path}: submission {made.number}: {choose_executor(made.executor).place(made)}", flush=True)


def readers_of(run: RunDir) -> list[RunDir]:
    """The runs that are not complete, and need what this one has stored."""
    known = (RunDir(Path(note.run)) for note in map(read_note, notes_of(run)) if note)
    found = [other for other in known if is_file(other.plan)]
    return [other for other in found if StatusReader(other).read().state is not RunState.COMPLETE]
