"""logs: what the array tasks of a run have written."""

import argparse
import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.errors import InputError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer
from launcher.runs.find import reference
from launcher.runs.log_choice import LogChoice
from launcher.runs.logs import LogText, about_rows, read_logs
from launcher.visible import visible


def logs(options: argparse.Namespace, printer: Printer) -> bool:
    run = chosen_run(options.run)
    if options.tail is not None and options.tail < 0:
        raise InputError(f"--tail {options.tail}: must be 0 or more lines")
    if sum((options.shard is not None, options.failed, options.sample is not None)) > 1:
        raise InputError("logs takes one of SHARD, --failed and --sample")
    plan = Plan.read(run.plan)
    rows = [] if options.sample is None else _find_rows(run, plan, options.sample)
    if rows:
        choice = LogChoice(run, plan, Spans.of_numbers(rows))
    else:
        choice = LogChoice.of(run, plan, options.shard, failed=options.failed)
    pieces = read_logs(choice, follow=options.follow, tail=options.tail)
    found = about_rows(pieces, rows, plan.batch_size) if rows else pieces
    if printer.as_json:
        text = b"".join(piece for _, piece in found).decode(errors="replace")
        which = {"sample": options.sample, "rows": rows} if rows else {"shard": options.shard}
        printer.document(run=str(run.path), **which, files=list(map(str, choice.paths())), text=text)
        return True
    show = _show_on_terminal if sys.stdout.isatty() else _pass_on
    is_empty = not show(_with_headings(found, several=len(choice.paths()) > 1))
    if is_empty and options.tail != 0:
        print(f"{run.path}: {_why_empty(run, plan, options, rows)}", file=sys.stderr)
    return True


def _find_rows(run: RunDir, plan: Plan, sample: str) -> list[int]:
    """Of an id, one in each manifest that has it. Raises InputError where none has."""
    from jobs.storage.samples import Samples

    rows = Samples(plan.manifest_file(run)).find(sample)
    if not rows:
        raise InputError(f"{run.path}: no sample has the id {sample!r}; failed ones: launcher errors {reference(run)}")
    return rows


def _why_empty(run: RunDir, plan: Plan, options: argparse.Namespace, rows: list[int]) -> str:
    if options.failed:
        return "nothing has failed that left a log"
    if rows:
        whole = f"launcher logs {reference(run)} {plan.table.shard_at(rows[0])}"
        return f"no log names row {rows[0]}, the sample {options.sample}; whole logs of those who had it: {whole}"
    return "has no log yet" if options.shard is None else f"shard {options.shard} has no log yet"


def _with_headings(log: Iterable[LogText], *, several: bool) -> Iterator[bytes]:
    """What logs say, each log's name before its first one, as tail(1) does where there are several."""
    shown: Path | None = None
    for path, text in log:
        if path != shown and (shown or several):
            yield f"==> {path} <==\n".encode(errors="surrogateescape")
        shown = path
        yield text


def _pass_on(log: Iterable[bytes]) -> bool:
    """Returns whether there was anything."""
    size = 0
    for piece in log:
        size += sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return size > 0


def _show_on_terminal(log: Iterable[bytes]) -> bool:
    """The terminal gets no commands of the log's; a bar of progress, drawn over itself, is many lines."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    is_any = False
    for piece in log:
        is_any = True
        text = decoder.decode(piece).replace("\r\n", "\n").replace("\r", "\n")
        print(visible(text), end="", flush=True)
    return is_any
