"""list: the runs of a folder, or all of a user's, a line each."""

import argparse
import fnmatch
import re
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import InputError
from jobs.kinds import RunState
from jobs.nearest import guess
from jobs.storage.files import is_file
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import profile_folder
from launcher.commands.printer import Printer
from launcher.runs.find import RUNS_FOLDER, last_change, list_runs, newest_first
from launcher.runs.sweeps import is_of_sweep
from launcher.status.listed import COLUMNS, UNREADABLE, ListedRun, list_lines, look_at, owner_of, read_brief, read_whole

_STATES = (*map(str, RunState), UNREADABLE)
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def list_all(options: argparse.Namespace, printer: Printer) -> bool:
    runs, place = _found(options)
    listed = list(_chosen(runs, options))
    if options.csv:
        printer.csv(COLUMNS, (one.line() for one in listed))
    elif listed and not options.json:
        printer.say(*list_lines(listed))
    elif not options.json:
        printer.say(f"no such run {place}" if runs else f"no run {place}")
    printer.document(runs=[one.to_json() for one in listed])
    return True


def _found(options: argparse.Namespace) -> tuple[list[RunDir], str]:
    """The runs of a folder, or of the folder ``runs`` in it, or all that this user has planned; and where that is, in words."""
    if options.folder is not None:
        folder = Path(options.folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the folder that holds the runs")
        own = [RunDir(folder)] if is_file(RunDir(folder).plan) else []
        return own or list_runs(folder) or list_runs(folder / RUNS_FOLDER), f"below {folder.absolute()}"
    if not options.all:
        for folder in filter(None, (RUNS_FOLDER, Path(), profile_folder())):
            if runs := list_runs(folder):
                return runs, f"below {folder.absolute()}"
    from launcher.runs.index import noted_runs

    below = "" if options.all else f"below {RUNS_FOLDER.absolute()}, and none "
    return newest_first(noted_runs()), f"{below}that you have planned elsewhere"


def _chosen(runs: list[RunDir], options: argparse.Namespace) -> Iterator[ListedRun]:
    """What needs no look into a run is asked first."""
    states = _states(options.state) if options.state else _STATES
    since = time.time() - _seconds(options.since) if options.since else 0.0
    read = read_whole if options.json else read_brief
    for run in runs:
        if (options.name and not fnmatch.fnmatchcase(run.name, options.name)) or (last_change(run) or 0.0) < since:
            continue
        if options.sweep and not is_of_sweep(run, options.sweep):
            continue
        if options.owner and owner_of(run) != options.owner:
            continue
        listed = look_at(run, read, with_size=options.size)
        if listed.state in states:
            yield listed


def _states(text: str) -> list[str]:
    given = [one.strip() for one in text.split(",")]
    for one in given:
        if one not in _STATES:
            raise InputError(f"--state {one}: there is no such state{guess(one, _STATES)}")
    return given


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if not found:
        raise InputError(f"--since {text}: must be a time such as 30m, 12h, 7d or 2w")
    return float(found[1]) * _UNITS[found[2]]
