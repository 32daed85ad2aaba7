"""clean: room on the disk, by what complete runs do not need any more."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run
from launcher.commands.printer import Printer, rows_line
from launcher.units import counted, short_size

if TYPE_CHECKING:
    from launcher.submit.clean import Waste


def clean(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.submit.clean import clean as free
    from launcher.submit.clean import find_waste

    runs = [chosen_run(text) for text in dict.fromkeys(options.runs)]
    found = [(run, find_waste(run, logs=options.logs)) for run in runs]
    for run, waste in found:
        printer.say(*_lines(run, waste))
    is_meant = not options.dry_run and (options.yes or _is_meant(printer))
    freed = [
        free(run, waste, rows_line(f"{run.path}: ", " checked")) if is_meant else _size(waste.files)
        for run, waste in found
    ]
    if is_meant:
        printer.say(*(f"{run.path}: {short_size(size)} freed" for (run, _), size in zip(found, freed, strict=True)))
    elif not options.dry_run:
        printer.say("nothing is removed")
    printer.document(
        removed=is_meant,
        runs=[
            {"run": str(run.path), "files": len(waste.files), "bytes": size}
            for (run, waste), size in zip(found, freed, strict=True)
        ],
    )
    return is_meant or options.dry_run


def _lines(run: RunDir, waste: "Waste") -> list[str]:
    """What goes of a run, and what stays."""
    kinds = (
        ("data", "of its attempts"),
        ("left_behind", "left behind by processes that were killed"),
        ("logs", "of text"),
    )
    going = [(getattr(waste, name), what) for name, what in kinds if getattr(waste, name)]
    logs = "" if waste.logs else ", logs"
    return [
        f"{run.path}: {short_size(_size(waste.files))} can go",
        *(f"  {counted(len(files), 'file')} {what}, {short_size(_size(files))}" for files, what in going),
        f"  stays: the result, plan, manifest, submissions, journals{logs}; rows cannot be computed again in it then",
    ]


def _size(files: Iterable[Path]) -> int:
    """Bytes on disk."""
    return sum(path.stat().st_blocks * 512 for path in files if path.exists())


def _is_meant(printer: Printer) -> bool:
    """A person is asked; a script has to say it."""
    if printer.as_json or not sys.stdin.isatty():
        raise InputError("clean asks before it removes anything: add --yes, or --dry-run to see what it would remove")
    print("check the result byte by byte, and remove these? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
