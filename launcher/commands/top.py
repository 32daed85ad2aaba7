"""top: runs on a full screen."""

import argparse
import sys

from jobs.errors import InputError
from jobs.extras import how_to_install, missing
from launcher.commands.chosen_run import all_meant
from launcher.commands.printer import Printer
from launcher.commands.status import FLAGS, status


def top(options: argparse.Namespace, printer: Printer) -> bool:
    """Into a pipe, or as a document, it is what status tells."""
    if options.json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        told = {**dict.fromkeys(FLAGS, False), "watch": not options.json and len(options.runs) < 2}
        return status(argparse.Namespace(**vars(options), **told), printer)
    if missing("top"):
        raise InputError(
            f"launcher top needs textual, which comes with {how_to_install('top')}; launcher status --watch does not"
        )
    runs = all_meant(dict.fromkeys(options.runs))
    from launcher.top.app import TopApp

    TopApp(runs).run()
    return True
