"""cancel, gather, verify."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import InputError
from jobs.kinds import RunState
from jobs.storage.code import fingerprint
from jobs.storage.files import exists
from jobs.storage.growth import Growth
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher.commands.printer import Printer
from launcher.commands.sweeps import Done, do
from launcher.runs.downstream import waiting_for
from launcher.runs.find import RUNS_FOLDER, find_run, list_runs, reference
from launcher.runs.set_aside import was_set_aside
from launcher.runs.submissions import read_submissions
from launcher.status.reader import StatusReader
from launcher.submit.result import gather_result
from launcher.units import counted, rows_between

if TYPE_CHECKING:
    from jobs.gather.gather_report import GatherReport
    from jobs.gather.verify import VerifyReport
    from launcher.documents.results import GatheredDocument, VerifiedDocument

_LISTED = 20


def cancel(options: argparse.Namespace, printer: Printer) -> bool:
    if options.run is not None:
        return do(options.run, lambda run: _cancelled(run, printer), printer, "to go on: launcher rerun")
    if run := _asked_for(printer):
        printer.document(**_cancelled(run, printer).document)
        return True
    printer.say("nothing is cancelled")
    return False


def _cancelled(run: RunDir, printer: Printer) -> Done:
    from launcher.submit.cancel import stop_run

    cancelled, waited = stop_run(run)
    name, after = reference(run), [reference(RunDir(Path(one.run))) for one in waiting_for(run)]
    if cancelled:
        printer.say(f"cancelled: {run.path}; what is done is kept, to go on: launcher rerun {name}")
    elif not waited:
        printer.say(f"nothing of {run.path} is running")
    if waited:
        printer.say(
            f"{name} waits no more for {', '.join(map(reference, waited))}; to have it wait again: launcher submit {name}"
        )
    if after and StatusReader(run).read().state is not RunState.COMPLETE:
        printer.say(f"these wait for {name}, unless they are cancelled too: {', '.join(after)}")
    word = "cancelled" if cancelled or waited else "with nothing to cancel"
    return Done(word, {"run": str(run.path), "cancelled": cancelled})


def _asked_for(printer: Printer) -> RunDir | None:
    """The newest run, if that is the one that was meant: a person is asked, a script has to say it where there are others."""
    run, *others = [run for run in list_runs(RUNS_FOLDER) if not was_set_aside(run)] or [find_run(None)]
    if not sys.stdin.isatty() or printer.as_json:
        if others:
            names = ", ".join(reference(one) for one in (run, *others[:_LISTED]))
            raise InputError(f"cancel needs the name of a run, since there are several: {names}")
        return run
    print(f"cancel {reference(run)} ({run.path.absolute()})? [y/N] ", end="", file=sys.stderr, flush=True)
    return run if sys.stdin.readline().strip().lower() in ("y", "yes") else None


def gather(options: argparse.Namespace, printer: Printer) -> bool:
    return do(options.run, lambda run: _gathered(run, options, printer), printer)


def _gathered(run: RunDir, options: argparse.Namespace, printer: Printer) -> Done:
    report = gather_result(run, allow_missing=options.allow_missing)
    if report.new_code:
        printer.say(f"note: the summary is made by code that has changed since the plan: {', '.join(report.new_code)}")
    for one in report.parts or (report,):
        printer.say(
            f"result: {one.url or one.path} ({one.bytes / 1e6:,.1f} MB{f' in {one.files} files' if one.files > 1 else ''})",
            f"samples: {one.ok:,} ok, {one.failed:,} failed, {one.missing:,} missing of {one.rows:,}",
            *_listed(one.damaged),
        )
    document = {"run": str(run.path), **_with_manifests(report, _result_json)}
    return Done("complete" if report.complete else "incomplete", document, is_well=report.complete)


def _result_json(report: "GatherReport") -> "GatheredDocument":
    return {
        "result": report.url or str(report.path),
        "complete": report.complete,
        "samples": {"total": report.rows, "ok": report.ok, "failed": report.failed, "missing": report.missing},
        "bytes": report.bytes,
        "files": report.files,
        "damaged": list(map(str, report.damaged)),
    }


def verify(options: argparse.Namespace, printer: Printer) -> bool:
    return do(options.run, lambda run: _verified(run, printer), printer)


def _verified(run: RunDir, printer: Printer) -> Done:
    from launcher.delivery.store_check import verify_results

    submissions = read_submissions(run)
    in_place = bool(submissions) and not submissions[-1].submission.resources.gathers
    report = verify_results(run, submissions)
    is_cleaned, grown = exists(run.cleaned), Plan.read(run.plan).grown
    printer.say(
        *_shard_lines(report, is_cleaned=is_cleaned),
        *(line for one in report.parts or (report,) for line in _result_lines(run, one, in_place=in_place)),
        *map(_growth_line, grown),
        *_next_lines(run, report, is_cleaned=is_cleaned),
    )
    extended = {"extended": [dataclasses.asdict(growth) for growth in grown]} if grown else {}
    document = {"run": str(run.path), **_with_manifests(report, _check_json), **extended, "cleaned": is_cleaned}
    return Done("intact" if report.ok else "damaged or incomplete", document, is_well=report.ok)


def _shard_lines(report: "VerifyReport", *, is_cleaned: bool) -> list[str]:
    batches, shards = counted(report.batches, "batch", "batches"), counted(report.shards, "shard")
    if is_cleaned:
        return [f"shards: cleaned; {batches} of {shards} are in the result alone"]
    return [f"shards: {batches} in {shards} checked, {len(report.damaged)} damaged", *_listed(report.damaged)]


def _result_lines(run: RunDir, report: "VerifyReport", *, in_place: bool) -> Iterator[str]:
    """What of the result of a run, or of one of its manifests, is wrong, and by which code it is, where there were several."""
    of = f" of {report.name}" if report.name else ""
    state = counted(len(report.result_problems), "problem") if report.result_problems else "intact"
    found = f"{report.result}, {state}" if report.result else "in place, as checked" if in_place else "not written yet"
    yield from (f"result{of}: {found}", *_listed(report.result_problems))
    when = _code_times(run) if len(report.code) > 1 else {}
    for code, rows in report.code.items() if when else ():
        yield f"rows {rows.brief()}{of}: computed by the code {code or 'unknown'}{when.get(code, '')}"


def _next_lines(run: RunDir, report: "VerifyReport", *, is_cleaned: bool) -> Iterator[str]:
    """What to do about what is wrong."""
    name = reference(run)
    if report.damaged:
        damaged = Spans.of_numbers(damage.shard for damage in report.damaged)
        yield f"next: launcher rerun {name} --shards {damaged.coarse()}"
    elif report.result_problems and report.missing:  # which gather refuses
        yield f"next: launcher rerun {name}, which computes what is missing; until then the result stays"
    elif report.result_problems and is_cleaned:
        yield "next: launcher run CONFIG --fresh, or bring back a copy of the result"
    elif report.result_problems:
        yield f"next: launcher gather {name}"


def _growth_line(growth: Growth) -> str:
    """When a run was extended, and by what."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(growth.time))
    new, changed = growth.rows - growth.rows_before, growth.changed_rows
    added = [f"{rows_between(growth.rows_before, growth.rows)} added"] if new else []
    again = [f"rows {changed.brief()} changed, and computed again since"] if changed else []
    return f"extended {when}: {', '.join([*added, *again])}"


def _code_times(run: RunDir) -> dict[str, str]:
    """By its fingerprint, until when the Job's code was such, in words."""
    plan = Plan.read(run.plan)
    kept = {
        one["code_before"]: time.strftime(", until %Y-%m-%d %H:%M", time.localtime(one["time"])) for one in plan.kept
    }
    return {**kept, fingerprint(plan.code): ", which the plan has now"}


def _check_json(report: "VerifyReport") -> "VerifiedDocument":
    return {
        "ok": report.ok,
        "shards": report.shards,
        "batches": report.batches,
        "damaged": list(map(str, report.damaged)),
        "result": None if report.result is None else str(report.result),
        "result_problems": list(report.result_problems),
        "rows_by_code": {code or "unknown": str(rows) for code, rows in report.code.items()},
    }


def _with_manifests(report: Any, described: Callable[[Any], Mapping[str, object]]) -> dict[str, object]:
    """A report as JSON, and that of each manifest where there are several."""
    manifests = [{"name": one.name, **described(one)} for one in report.parts]
    return {**described(report), **({"manifests": manifests} if manifests else {})}


def _listed(items: tuple[Any, ...]) -> list[str]:
    """The first of them, a line each."""
    more = [f"  and {len(items) - _LISTED} more"] if len(items) > _LISTED else []
    return [f"  {item}" for item in items[:_LISTED]] + more
