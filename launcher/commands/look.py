"""status, logs, list."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jobs.errors import InputError, LauncherError
from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer
from launcher.runs import find as runs
from launcher.status.status import StatusReader

_Found = TypeVar("_Found")


def status(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.status.progress import follow, make_view, status_lines

    reader = StatusReader(chosen_run(options.run))
    stream, live = printer.stream, options.live
    found = follow(reader, make_view(stream), live=live) if options.watch else reader.read(live=live)
    if options.json:
        printer.document(**found.to_json(with_shards=options.shards))
    else:
        printer.say(*status_lines(found, with_shards=options.shards))
    return found.state not in (RunState.FAILED, RunState.INCOMPLETE, RunState.CANCELLED)


def logs(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.runs.logs import log_paths, read_log

    run, shard = chosen_run(options.run), options.shard
    count = Plan.read(run.plan).shard_count
    if not 0 <= shard < count:
        raise InputError(f"{run.path}: there is no shard {shard}; the run has shards 0-{count - 1}")
    if options.json:
        text = b"".join(read_log(run, shard, follow=options.follow)).decode(errors="replace")
        printer.document(run=str(run.path), shard=shard, files=list(map(str, log_paths(run, shard))), text=text)
        return True
    for piece in read_log(run, shard, follow=options.follow):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    if not log_paths(run, shard):
        print(f"{run.path}: shard {shard} has no log yet", file=sys.stderr)
    return True


def list_runs(options: argparse.Namespace, printer: Printer) -> bool:
    folder = Path(options.folder)
    if not folder.is_dir() and options.folder != "runs":
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
        printer.say(f"{run.name:{width}}  {line if isinstance(line, str) else line['error']}")
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
