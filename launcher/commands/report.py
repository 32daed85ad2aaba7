"""report, metrics, events."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.errors import InputError
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import all_meant, chosen_run
from launcher.commands.printer import Printer
from launcher.status.reader import StatusReader


def report(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.report.bill import Prices
    from launcher.report.report import write_comparison, write_report

    prices = Prices(options.cpu_price, options.gpu_price, options.currency)
    if any(price is not None and not 0 <= price < float("inf") for price in (prices.cpu_hour, prices.gpu_hour)):
        raise InputError("--cpu-price and --gpu-price are prices of an hour, such as 0.02")
    runs = all_meant(options.runs)
    output = Path(options.output) if options.output else _place_of_sweep(options.runs, runs)
    path = write_report(runs[0], output, prices) if len(runs) == 1 else write_comparison(runs, output, prices)
    printer.say(f"report: {path}")
    printer.document(report=str(path), bytes=path.stat().st_size)
    return True


def _place_of_sweep(names: Sequence[str], runs: Sequence[RunDir]) -> Path | None:
    """Beside its runs, by its name."""
    return runs[0].path.parent / f"{names[0]}.html" if len(names) == 1 < len(runs) else None


def metrics(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.status.open_metrics import families, text_of

    runs = all_meant(options.runs)
    if len({run.name for run in runs}) < len(runs):
        raise InputError("two of these runs have one name, which is what their metrics are told apart by")
    statuses = [StatusReader(run).read() for run in runs]
    if options.json:
        found = [
            # + makes numbers of true and false
            {"name": f"launcher_{family.name}{suffix}", "labels": dict(labels), "value": +value}
            for family in families(statuses)
            for suffix, labels, value in family.metrics
        ]
        printer.document(metrics=found)
    else:
        print(text_of(statuses), end="", flush=True)
    return True


def events(options: argparse.Namespace, printer: Printer) -> bool:
    """A JSON document a line, or with --json one with all."""
    run = chosen_run(options.run)
    lines = _events(run, follow=options.follow)
    if options.json:
        printer.stream_list("events", lines, run=str(run.path))
    else:
        for event in lines:
            print(json.dumps(event), flush=options.follow)
    return True


def _events(run: RunDir, *, follow: bool) -> Iterator[dict[str, object]]:
    from launcher.runs.events import EventReader
    from launcher.status.views import Looks

    reader, looks = EventReader(run), Looks(StatusReader(run), live=follow)
    while True:
        # First whether it is over: what happened until then is read after that.
        is_last = not follow or looks.is_over(looks.look())
        yield from map(dict, reader.read())
        if is_last:
            return
        time.sleep(looks.pause())
