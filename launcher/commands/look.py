"""status, logs, list."""

import argparse
import sys
from pathlib import Path

from jobs.errors import InputError, LauncherError
from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.commands.printer import Printer
from launcher.runs import find as runs
from launcher.status.status import Status, StatusReader


def status(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.status.progress import follow, make_view, status_lines

    reader = StatusReader(runs.find_run(options.run))
    stream, live = printer.stream, options.live
    found = follow(reader, make_view(stream), live=live) if options.watch else reader.read(live=live)
    if options.json:
        printer.document(**found.to_json(with_shards=options.shards))
    else:
        printer.say(*status_lines(found, with_shards=options.shards))
    return found.state not in (RunState.FAILED, RunState.INCOMPLETE, RunState.CANCELLED)


def logs(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.runs.logs import log_paths, read_log

    run, shard = runs.find_run(options.run), options.shard
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
    from launcher.status.progress import summary_line

    folder = Path(options.folder)
    if not folder.is_dir() and options.folder != "runs":
        raise InputError(f"{folder}: no such folder; give the folder that holds the runs")
    found = [(run, _try_status(run)) for run in runs.list_runs(folder)]
    if not found and not options.json:
        printer.say(f"no run below {folder.absolute()}")
    width = max((len(run.name) for run, _ in found), default=0)
    for run, status in found if not options.json else ():
        printer.say(f"{run.name:{width}}  {summary_line(status) if isinstance(status, Status) else status}")
    printer.document(
        runs=[s.to_json() if isinstance(s, Status) else {"run": str(r.path), "error": s} for r, s in found]
    )
    return True


def _try_status(run: RunDir) -> Status | str:
    """One run that cannot be read does not hide the others: files cut short or of another kind, and not for our eyes."""
    try:
        return StatusReader(run).read()
    except LauncherError as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{run.path}: cannot be read ({type(error).__name__}: {error})"
