"""try."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.storage.plans import Plan
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer
from launcher.commands.targets import names_config
from launcher.config.config import load_config

if TYPE_CHECKING:
    from launcher.tryout.stages import Stage


def try_samples(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.submit.settings import current_config
    from launcher.tryout.tryout import Chosen, try_config, try_run

    chosen = Chosen(options.samples, options.shard, options.row)

    def tell(stage: "Stage") -> None:
        printer.say(*stage.lines)

    # A document is alone on stdout; else what the Job prints stands where it prints it.
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        if names_config(options.target):
            config = load_config(Path(options.target), options.set)
            tried = try_config(config, chosen, tell, debug=options.pdb)
        else:
            run = chosen_run(options.target)
            plan = Plan.read(run.plan)
            config = current_config(run, plan, options.set)
            tried = try_run(run, plan, config, chosen, tell, debug=options.pdb)
    printer.document(job=config.job.class_, ok=tried.is_good, stages=[stage.to_json() for stage in tried.stages])
    return tried.is_good
