"""submit, rerun: what they import first is little, so that a scheduler is asked for its limits while the rest comes."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import runs_of_sweep
from launcher.commands.printer import Printer
from launcher.commands.sweeps import Done, do
from launcher.commands.targets import (
    Target,
    planned_target,
    targets_of,
    told_of_deprecations,
    way_of,
)
from launcher.runs.find import reference
from launcher.submit.start import Started, start, start_again

if TYPE_CHECKING:
    from launcher.documents.starts import StartDocument


def submit(options: argparse.Namespace, printer: Printer) -> bool:
    """Of several runs those that may begin; the others wait for them."""
    targets = targets_of(options)
    all_planned = [planned_target(target, options, printer) for target in targets]
    if notes := [
        note for planned, _ in all_planned for note in planned.notes
    ]:  # before anything is submitted, which may fail
        printer.say(*notes)
    started = [told(start(replace(planned, notes=()), config), printer) for planned, config in all_planned]
    printer.document(**together(targets, started))
    return True


def rerun(options: argparse.Namespace, printer: Printer) -> bool:
    if options.shards and options.run and (swept := runs_of_sweep(options.run)):
        names = ", ".join(reference(run) for run in swept)
        raise InputError(f"--shards {options.shards}: are of one run, and {options.run} is a sweep; its runs: {names}")
    return do(options.run, lambda run: _run_again(run, options, printer), printer, "follow: launcher status")


def _run_again(run: RunDir, options: argparse.Namespace, printer: Printer) -> Done:
    from launcher.plan.guard import Way

    way, limits = way_of(options), {"memory": options.mem, "time": options.time}
    started = start_again(run, way, options.set, shards=options.shards, tasks=options.tasks, **limits)
    told_of_deprecations(started.config, printer)
    if way is not Way.FRESH and (note := _old_samples(started)):
        printer.warn(note)
    return Done("submitted" if started.submissions else "with nothing to submit", told(started, printer))


def _old_samples(started: Started) -> str:
    """That the samples are those of the plan, where their files are not what they were any more."""
    from launcher.plan.changes import changed_sources

    if not (changed := changed_sources(started.plan)):
        return ""
    more = f" and {len(changed) - 1:,} more files have" if len(changed) > 1 else " has"
    return (
        f"note: {changed[0]}{more} changed since this run was planned, and what is computed are its samples as they were then. "
        f"Those that are others now are computed again with: launcher extend {reference(started.run)} --changed"
    )


def told(started: Started, printer: Printer) -> "StartDocument":
    printer.say(*started.lines)
    return started.to_json()


def together(targets: Sequence[Target], documents: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """The documents of several runs as one."""
    return documents[0] if len(targets) == 1 else {"runs": documents}
