"""list: runs, a line each."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jobs.errors import InputError, LauncherError
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import profile_folder
from launcher.commands.printer import Printer
from launcher.runs import find as runs
from launcher.status.reader import StatusReader
from launcher.visible import on_one_line

_Found = TypeVar("_Found")


def list_runs(options: argparse.Namespace, printer: Printer) -> bool:
    folder = Path(options.folder)
    if not folder.is_dir() and options.folder == "runs":
        folder = profile_folder() or folder
    elif not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that holds the runs")
    found = runs.list_runs(folder)
    if options.json:
        printer.document(runs=[_tried(run, _document) for run in found])
        return True
    if not found:
        printer.say(f"no run below {folder.absolute()}")
    width = max((len(run.name) for run in found), default=0)
    for run in found:
        line = _tried(run, _line)
        printer.say(f"{on_one_line(run.name):{width}}  {on_one_line(line if isinstance(line, str) else line['error'])}")
    return True


def _document(run: RunDir) -> dict[str, Any]:
    return StatusReader(run).read().to_json()


def _line(run: RunDir) -> str:
    from launcher.status.complete import read_complete
    from launcher.status.progress import summary_line

    return summary_line(read_complete(run) or StatusReader(run).read())


def _tried(run: RunDir, tell: Callable[[RunDir], _Found]) -> _Found | dict[str, Any]:
    """One run that cannot be read does not hide the others: files cut short or of another kind, and not for our eyes."""
    try:
        return tell(run)
    except LauncherError as error:
        return {"run": str(run.path), "error": str(error)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{run.path}: cannot be read ({type(error).__name__}: {error})"
        return {"run": str(run.path), "error": why}
