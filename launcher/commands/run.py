"""run: plans, submits, follows, and writes the result."""

import argparse
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.kinds import RunState
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer
from launcher.commands.start import together, told
from launcher.commands.targets import Target, planned_target, targets_of
from launcher.config.config import Config
from launcher.executors import choose_executor
from launcher.runs.downstream import forget
from launcher.runs.find import reference
from launcher.status.progress import status_lines
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.status.views import follow, make_view
from launcher.submit.start import start

# What imports numpy or pyarrow is imported in the functions below, so that a scheduler is asked for its limits before.
if TYPE_CHECKING:
    from launcher.documents.status import StatusDocument
    from launcher.plan.plan import Planned


def run(options: argparse.Namespace, printer: Printer) -> bool | None:
    """Several runs one after another, as long as each is complete; but all of a sweep."""
    targets = targets_of(options)
    if all(target.is_swept for target in targets):
        statuses = list(_run_sweep(targets, options, printer))
        printer.document(runs=[status.to_json() for status in statuses])
        return all(status.state is RunState.COMPLETE for status in statuses)
    if len(targets) > 1:
        _prepare(targets, options, printer)
    documents: list[StatusDocument] = []
    for target in targets:
        status = _run_one(target, options, printer)
        documents.append(status.to_json())
        if status.state is not RunState.COMPLETE:
            break
    if left := [target.name for target in targets[len(documents) :]]:
        printer.say(f"not begun, since they come after {reference(status.run)}: {', '.join(left)}")
    printer.document(**together(targets, documents))
    return None if options.once and status.state is RunState.RUNNING else status.state is RunState.COMPLETE and not left


def _run_sweep(targets: Sequence[Target], options: argparse.Namespace, printer: Printer) -> Iterator[Status]:
    """Its runs do not wait for each other: a scheduler gets all of them first, and one that fails ends no other."""
    if options.once:
        raise InputError("--once is for a run at a time: launcher run NAME --once for each of the sweep's")
    prepared = [planned_target(target, options, printer) for target in targets]
    if any(choose_executor(config.executor).stops_with_launcher for _, config in prepared):
        yield from _one_by_one(targets, prepared, options, printer)
        return
    for planned, config in prepared:
        told(start(planned, config), printer)
    try:
        for planned, _ in prepared:
            yield _followed(planned.run, printer)
    except KeyboardInterrupt:
        printer.say(f"the runs go on; to see them: launcher status {' '.join(target.name for target in targets)}")
        raise


def _one_by_one(
    targets: Sequence[Target],
    prepared: "Sequence[tuple[Planned, Config]]",
    options: argparse.Namespace,
    printer: Printer,
) -> Iterator[Status]:
    """A run that fails ends no other, but whoever cancels one wants no more of them."""
    for number, (target, made) in enumerate(zip(targets, prepared, strict=True), 1):
        status = _run_one(target, options, printer, made)
        yield status
        if status.state is RunState.CANCELLED and (left := [one.name for one in targets[number:]]):
            printer.say(f"not begun, since {target.name} was cancelled: {', '.join(left)}")
            return


def _followed(run: RunDir, printer: Printer) -> Status:
    """The status of a submitted run when it has ended."""
    from launcher.submit.attend import attend, is_attended

    view = make_view(printer.stream)
    attended = is_attended(run)
    status = attend(run, view, printer.say) if attended else follow(StatusReader(run), view, live=True)
    printer.say(*status_lines(status))
    return status


def _prepare(targets: Sequence[Target], options: argparse.Namespace, printer: Printer) -> None:
    """Plans all: what is wrong with the last one is known before the first one begins. None is to begin by itself any more."""
    for target in targets:
        planned, _ = planned_target(target, options, printer)
        for note in planned.notes:  # which are not told again when it is planned anew
            printer.say(note)
        forget(planned.run, planned.plan)


def _run_one(
    target: Target, options: argparse.Namespace, printer: Printer, prepared: "tuple[Planned, Config] | None" = None
) -> Status:
    """``prepared``: what is planned of it already."""
    from launcher.runs.attendant import AttendedElsewhere

    try:
        status = _run_or_attend(target, options, printer, prepared)
    except AttendedElsewhere as error:
        if not options.once:
            raise
        printer.say(str(error))
        status = StatusReader(chosen_run(target.text)).read()
    printer.say(*status_lines(status))
    return status


def _run_or_attend(
    target: Target, options: argparse.Namespace, printer: Printer, prepared: "tuple[Planned, Config] | None"
) -> Status:
    """A run that lacks somebody to end it goes on as it was submitted, whatever its config and its Job are by now."""
    from launcher.submit.attend import attend, is_attended
    from launcher.submit.follow import run_to_end

    view = make_view(printer.stream)
    known = None if options.fresh or options.keep_results else target.known_run
    if known and is_attended(known):
        if options.set:
            changes = shlex.join(word for text in options.set for word in ("--set", text))
            printer.warn(
                f"{known.path}: what runs goes on as it was submitted, without {changes}; for attempts with it, when this one "
                f"has ended: launcher rerun {reference(known)} {changes}"
            )
        printer.say(f"run directory: {known.path.absolute()}")
        return attend(known, view, printer.say, once=options.once)
    planned, config = prepared or planned_target(target, options, printer)
    if options.once and choose_executor(config.executor).stops_with_launcher:
        raise InputError("--once is for a scheduler, whose array tasks go on without the launcher: leave it out")
    remarks = choose_executor(config.executor).remarks(config)
    printer.say(*planned.notes, *remarks, f"run directory: {planned.run.path.absolute()}")
    return run_to_end(planned, config, view, printer.say, once=options.once)
