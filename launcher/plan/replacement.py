"""Replacement: another plan takes the place of a run's, whole, in one rename; what was there goes, or is set aside.

Killed on its way, it leaves either the old run or none, and the next planning makes the new one.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from jobs.errors import ConflictError, RunError
from jobs.storage.attempts import Attempts
from jobs.storage.files import exists, fsync_folder
from jobs.storage.locks import has_name, try_lock
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.runs.delivered import Delivered
from launcher.runs.find import reference
from launcher.runs.going_on import going_on
from launcher.runs.result_place import result_places
from launcher.runs.set_aside import name_aside
from launcher.runs.submissions import read_submissions

# For as long another launcher is waited for that replaces the run at this moment, which takes it milliseconds; seconds.
_PATIENCE = 20.0


def has_results(run: RunDir, plan: Plan) -> bool:
    """Whether an attempt has a sample done that has not failed, or there is a result."""
    if any(attempt.beat.done.count > attempt.beat.failed for attempt in Attempts(run).read()):
        return True
    return any(place.exists for place in result_places(run, plan, read_submissions(run)))


def refuse_while_it_goes_on(run: RunDir, what_becomes_of_it: str = "is to be replaced") -> None:
    """Raises ConflictError where something of the run waits or runs."""
    if numbers := sorted(going_on(run, read_submissions(run))):
        listed = ", ".join(map(str, numbers))
        raise ConflictError(
            f"{run.path}: submission {listed} goes on, of the plan that {what_becomes_of_it}; "
            f"first: launcher cancel {reference(run)}"
        )


@contextmanager
def beside(run: RunDir) -> Iterator[RunDir]:
    """A hidden folder beside the run, for one that is to take its place; gone at the end, unless it has."""
    place = _place(run)
    folder = place.with_name(f".{place.name}.{os.urandom(4).hex()}")
    try:
        yield RunDir(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(run: RunDir) -> Path:
    """The folder itself, where the run is a link to it, on another disk maybe: it is replaced there, and the link stays."""
    return run.path.resolve() if run.path.is_symlink() else run.path


def replace_run(run: RunDir, known: Plan, new: RunDir, *, set_aside: bool) -> Path | None:
    """Puts the ``new`` run in the place of one whose plan is ``known``; returns where that is now, if it is set aside.

    Raises ConflictError where another launcher was quicker.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = name_aside(run.name, stamp) if set_aside else f".{run.name}.{os.urandom(4).hex()}"
    run = RunDir(_place(run))
    with _alone_with(run, known):
        submitted = run.submission_numbers()
        refuse_while_it_goes_on(run)
        results = [place.path for place in result_places(run, known, read_submissions(run)) if not place.url]
        _hand_on(run, known, new)
        old = RunDir(run.path.with_name(name))
        if exists(old.path):
            old = RunDir(run.path.with_name(f"{name}-{os.urandom(2).hex()}"))
        os.rename(run.path, old.path)
        # Looked at once it has its new name, under which nobody else changes it: it may have been submitted meanwhile. Who
        # submits it looks at the plan once he has written that, so one of both sees the other.
        is_other = Plan.read(old.plan, run.path) != known or old.submission_numbers() != submitted
        if is_other or (not set_aside and has_results(old, known)):
            os.rename(old.path, run.path)
            raise _conflict(run)
        os.rename(new.path, run.path)
        fsync_folder(run.path.parent)
        if not set_aside:
            old.plan.unlink()  # first: from now on it is no run
    if not set_aside:
        shutil.rmtree(old.path, ignore_errors=True)
        return None
    for result in filter(exists, results):  # one that lies elsewhere is not to be taken for that of the new plan
        result.rename(result.with_name(f"{result.stem}.{stamp}{result.suffix}"))
    return old.path


def _hand_on(run: RunDir, known: Plan, new: RunDir) -> None:
    """Who waits for the run waits for the new one; what it has put into a store is the new one's to replace."""
    if run.downstream.is_dir():
        shutil.copytree(run.downstream, new.downstream)
    for part in known.results:
        with suppress(RunError):  # of a record that is damaged
            if delivered := Delivered.read(run, part.name):
                delivered.as_names().write(new, part.name)


@contextmanager
def _alone_with(run: RunDir, known: Plan) -> Iterator[None]:
    """Nobody else replaces the run meanwhile, where the file system knows locks; raises ConflictError where somebody has.

    Without the lock, one who is too late would take the new run away, look at it and put it back; its maker, who goes on with
    it, would find none.
    """
    with ExitStack() as stack:
        try:
            plan = stack.enter_context(open(run.plan, "r+b"))
        except FileNotFoundError:
            raise _conflict(run) from None
        deadline = time.monotonic() + _PATIENCE
        while (is_mine := try_lock(plan.fileno())) is False and time.monotonic() < deadline:
            time.sleep(0.02)
        if is_mine is False or not has_name(plan.fileno(), run.plan) or Plan.read(run.plan) != known:
            raise _conflict(run)
        yield


def _conflict(run: RunDir) -> ConflictError:
    return ConflictError(f"{run.path}: another launcher has changed this run meanwhile; try again")
