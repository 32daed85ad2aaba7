"""status: how runs stand."""

import argparse
from collections.abc import Sequence
from typing import Any

from jobs.errors import InputError
from jobs.kinds import RunState
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import all_meant, runs_of_sweep
from launcher.commands.printer import Printer
from launcher.status.reader import StatusReader
from launcher.status.shard_list import SHARD_COLUMNS, ShardRow
from launcher.status.status import SHARD_STATES, Status

FLAGS = ("watch", "live", "shards", "failed", "running", "slow", "csv")
"""With which it tells more than how a run stands."""
_NONE = {
    "failed": "no shard and no sample has failed",
    "running": "no shard is in work",
    "slow": "no shard is much slower than others, or stuck",
}
"""What is said where there are no shards such as a flag asks for."""
_BAD = (RunState.FAILED, RunState.INCOMPLETE, RunState.CANCELLED)


def status(options: argparse.Namespace, printer: Printer) -> bool:
    asks_more = any(getattr(options, name) for name in FLAGS)
    if len(options.runs) == 1 and not asks_more and (swept := runs_of_sweep(options.runs[0])):
        return _status_of_sweep(options.runs[0], swept, printer)
    runs = all_meant(dict.fromkeys(options.runs))
    if options.watch and len(runs) > 1:
        raise InputError("--watch follows one run; several: launcher top RUN...")
    if options.csv and (options.json or options.watch):
        raise InputError("--csv is a form of its own: without --json and --watch")
    found = [_read(StatusReader(run), options, printer) for run in runs]
    shards = [_shards(one, options) for one in found]
    if options.csv:
        _write_csv(found, shards, printer)
    elif len(found) == 1:
        printer.document(**found[0].to_json(shards[0]))
    else:
        printer.document(runs=[one.to_json(rows) for one, rows in zip(found, shards, strict=True)])
    if not (options.json or options.csv):
        _say(found, shards, "; ".join(text for name, text in _NONE.items() if getattr(options, name)), printer)
    return not any(one.state in _BAD for one in found)


def _status_of_sweep(name: str, swept: Sequence[RunDir], printer: Printer) -> bool:
    """A line for each of its runs."""
    from launcher.status.listed import list_lines, look_at, read_whole

    listed = [look_at(run, read_whole, with_size=False) for run in swept]
    if not printer.as_json:
        printer.say(*list_lines(listed))
    printer.document(sweep=name, runs=[one.to_json() for one in listed])
    return not any(one.error or one.state in _BAD for one in listed)


def _read(reader: StatusReader, options: argparse.Namespace, printer: Printer) -> Status:
    from launcher.status.views import follow, make_view

    return (
        follow(reader, make_view(printer.stream), live=options.live)
        if options.watch
        else reader.read(live=options.live)
    )


def _shards(status: Status, options: argparse.Namespace) -> list[ShardRow] | None:
    """Those that are to be shown."""
    chosen = {name: getattr(options, name) for name in _NONE}
    return list(status.shard_rows(**chosen)) if options.shards or any(chosen.values()) else None


def _say(found: list[Status], shards: list[list[ShardRow] | None], none: str, printer: Printer) -> None:
    from launcher.status.progress import status_lines

    for number, (one, rows) in enumerate(zip(found, shards, strict=True)):
        printer.say(*([""] if number else []), *status_lines(one, rows, none=none, width=printer.width))


def _write_csv(found: list[Status], shards: list[list[ShardRow] | None], printer: Printer) -> None:
    """A line a run, or a shard where these are asked for; names of columns are those of the JSON document."""
    if all(rows is None for rows in shards):
        printer.csv(_RUN_COLUMNS, map(_run_line, found))
        return
    pairs = zip(found, shards, strict=True)
    printer.csv(
        ("run", *SHARD_COLUMNS),
        ({"run": str(one.run.path), **row.to_json()} for one, rows in pairs for row in rows or ()),
    )


_RUN_COLUMNS = (
    "run", "state", "samples", "ok", "failed", "missing", "shards", *(f"shards_{state}" for state in SHARD_STATES),
    "samples_per_second", "eta_seconds", "job_ids",
)  # fmt: skip


def _run_line(status: Status) -> dict[str, Any]:
    told = status.to_json()
    samples, shards = told["samples"], told["shards"]
    by_state = {f"shards_{state}": number for state, number in shards.items()}
    jobs = " ".join(job for one in status.submissions for job in one.submission.job_ids)
    return {**told, **samples, "samples": samples["total"], "shards": shards["total"], **by_state, "job_ids": jobs}
