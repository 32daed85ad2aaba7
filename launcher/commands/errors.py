"""errors: the failed samples of a run, or of a result whose run is gone."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import InputError
from jobs.kinds import SampleFailureKind, known
from jobs.storage.plans import Plan
from jobs.storage.sample_failures import FailureTally
from launcher.commands.chosen_run import chosen_run, is_result
from launcher.commands.printer import Printer
from launcher.runs.find import reference
from launcher.runs.sample_errors import SampleError, read_errors
from launcher.units import counted
from launcher.visible import short_line

# So many are shown one by one on a terminal.
_FEW = 20
# What would begin another field, or another line; all else of an id stays as it is.
_BREAKS = str.maketrans({"\t": r"\t", "\n": r"\n", "\r": r"\r"})


def errors(options: argparse.Namespace, printer: Printer) -> bool:
    name, found = _find(options)
    if options.json:
        printer.stream_list("errors", (error.to_json() for error in found), run=name)
    elif sys.stdout.isatty():
        _summarise(name, found, printer)
    else:
        _list(name, found)
    return True


def _find(options: argparse.Namespace) -> tuple[str, Iterator[SampleError]]:
    """What they are of, as it is to be called, and they themselves. Raises InputError."""
    if options.run and is_result(options.run):
        if options.shard is not None:
            raise InputError(f"{options.run}: a result does not tell its shards; --shard is for a run")
        return options.run, _of_result(Path(options.run))
    run = chosen_run(options.run)
    plan = Plan.read(run.plan)
    if options.shard is not None:
        plan.check_shard(options.shard, run)
    return str(run.path) if options.json else reference(run), read_errors(run, plan, options.shard)


def _of_result(path: Path) -> Iterator[SampleError]:
    from jobs.gather.result_errors import read_result_errors

    for error in read_result_errors(path):
        yield SampleError(error.id, error.row, known(SampleFailureKind, error.kind), error.message, error.attempts)


def _list(name: str, found: Iterator[SampleError]) -> None:
    """A line each, for grep, cut and sort: id, row, kind, attempts, message, with tabs between them."""
    any_error = False
    for error in found:
        any_error = True
        print(error.id.translate(_BREAKS), error.row, error.kind, error.attempts, short_line(error.message), sep="\t")
    if not any_error:
        print(f"{name}: no sample has failed", file=sys.stderr)


def _summarise(name: str, found: Iterator[SampleError], printer: Printer) -> None:
    """By cause; and one by one, where they are few."""
    tally, first, count = FailureTally(lambda _: error.id), list[SampleError](), 0
    for error in found:
        count += 1
        first += [error] if count <= _FEW else []
        tally.add(error.kind, error.message, 0, error.shard or 0)
    printer.say(f"{name}: {counted(count, 'sample')} failed" if count else f"{name}: no sample has failed")
    for group in sorted(tally.groups(), key=lambda group: -group.samples):
        examples = ", ".join(map(short_line, group.examples)) + (", ..." if group.samples > len(group.examples) else "")
        printer.say(f"  {group.kind}, {counted(group.samples, 'sample')} ({examples}): {short_line(group.message)}")
    if count <= _FEW:
        for error in sorted(first, key=lambda error: (error.manifest or "", error.row)):
            where = f"row {error.row}" + (f" of {error.manifest}" if error.manifest else "")
            tried = f"tried {counted(error.attempts, 'time')}"
            printer.say(f"    {short_line(error.id)}: {where}, {error.kind}, {tried}: {short_line(error.message)}")
    else:
        printer.say(f"a line each, with tabs between id, row, kind, attempts, message: launcher errors {name} | less")
