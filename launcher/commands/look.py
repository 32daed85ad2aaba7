"""status, logs, list."""

import argparse
import codecs
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jobs.errors import InputError, LauncherError
from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run, profile_folder, runs_of_sweep
from launcher.commands.printer import Printer
from launcher.runs import find as runs
from launcher.status.reader import StatusReader
from launcher.visible import on_one_line, visible

_Found = TypeVar("_Found")
_BAD = (RunState.FAILED, RunState.INCOMPLETE, RunState.CANCELLED)


def status(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.status.progress import status_lines
    from launcher.status.views import follow, make_view

    if options.run and (swept := runs_of_sweep(options.run)):
        return _status_of_sweep(options.run, swept, printer)
    reader = StatusReader(chosen_run(options.run))
    stream, live = printer.stream, options.live
    found = follow(reader, make_view(stream), live=live) if options.watch else reader.read(live=live)
    if options.json:
        printer.document(**found.to_json(with_shards=options.shards))
    else:
        printer.say(*status_lines(found, with_shards=options.shards))
    return found.state not in _BAD


def _status_of_sweep(name: str, swept: Sequence[RunDir], printer: Printer) -> bool:
    """A line for each of its runs."""
    documents = [_tried(run, _document) for run in swept]
    if not printer.as_json:
        _say_lines(swept, printer)
    printer.document(sweep=name, runs=documents)
    return not any("error" in one or one["state"] in _BAD for one in documents)


def logs(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.runs.logs import log_paths, read_log

    run, shard = chosen_run(options.run), options.shard
    Plan.read(run.plan).check_shard(shard, run)
    if options.json:
        text = b"".join(piece for _, piece in read_log(run, shard, follow=options.follow)).decode(errors="replace")
        printer.document(run=str(run.path), shard=shard, files=list(map(str, log_paths(run, shard))), text=text)
        return True
    show = _show_on_terminal if sys.stdout.isatty() else _pass_on
    show(_with_headings(read_log(run, shard, follow=options.follow), several=len(log_paths(run, shard)) > 1))
    if not log_paths(run, shard):
        print(f"{run.path}: shard {shard} has no log yet", file=sys.stderr)
    return True


def _with_headings(log: Iterable[tuple[Path, bytes]], *, several: bool) -> Iterator[bytes]:
    """The pieces of logs, each log's name before its first one, as tail(1) does where there are several."""
    shown = None
    for path, piece in log:
        if path != shown and (shown or several):
            yield f"==> {path} <==\n".encode(errors="surrogateescape")
        shown = path
        yield piece


def _pass_on(log: Iterable[bytes]) -> None:
    for piece in log:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _show_on_terminal(log: Iterable[bytes]) -> None:
    """The terminal gets no commands of the log's; a bar of progress, drawn over itself, is many lines."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    for piece in log:
        text = decoder.decode(piece).replace("\r\n", "\n").replace("\r", "\n")
        print(visible(text), end="", flush=True)


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
    _say_lines(found, printer)
    return True


def _say_lines(found: Sequence[RunDir], printer: Printer) -> None:
    width = max((len(run.name) for run in found), default=0)
    for run in found:
        line = _tried(run, _line)
        printer.say(f"{on_one_line(run.name):{width}}  {on_one_line(line if isinstance(line, str) else line['error'])}")


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
