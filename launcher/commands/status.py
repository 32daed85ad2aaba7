"""status: how a run stands."""

import argparse

from jobs.kinds import RunState
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer
from launcher.status.reader import StatusReader


def status(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.status.progress import status_lines
    from launcher.status.views import follow, make_view

    reader = StatusReader(chosen_run(options.run))
    stream, live = printer.stream, options.live
    found = follow(reader, make_view(stream), live=live) if options.watch else reader.read(live=live)
    if options.json:
        printer.document(**found.to_json(with_shards=options.shards))
    else:
        printer.say(*status_lines(found, with_shards=options.shards))
    return found.state not in (RunState.FAILED, RunState.INCOMPLETE, RunState.CANCELLED)
