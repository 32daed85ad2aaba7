"""export: a result in the format of another program."""

import argparse

from jobs.errors import IncompleteError, InputError
from jobs.references.stores import is_url
from jobs.storage.files import exists
from jobs.storage.plans import Plan
from jobs.storage.upstreams import refuse_outdated
from launcher.commands.chosen_run import chosen_run, is_result
from launcher.commands.printer import Printer, rows_line
from launcher.units import counted, parse_memory


def export(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher import results
    from launcher.export.export import FILE_BYTES
    from launcher.export.export import export as write
    from launcher.export.export_place import delivered

    size, rows = _size(options.max_file_size) or FILE_BYTES, options.rows_per_file
    if rows is not None and rows < 1:
        raise InputError(f"--rows-per-file {rows}: must be 1 or more")
    run = None if is_url(options.run) or is_result(options.run) else chosen_run(options.run)
    # A run is read where its attempts have stored it: that is checked block by block, and never older than they are.
    in_place = run is not None and not exists(run.cleaned)
    if run and in_place:
        refuse_outdated(run, Plan.read(run.plan))  # as gather does
    source = run.path if run else options.run
    with results.open(source, manifest=options.manifest, allow_incomplete=True, in_place=in_place) as found:
        if not (found.complete or options.allow_missing):
            raise IncompleteError(f"{found.shortfall}; --allow-missing exports what there is")
        with delivered(options.path) as target:
            done = write(
                found,
                target,
                options.format,
                rows_per_file=rows,
                file_bytes=size,
                compression=options.compression,
                progress=rows_line(),
            )
        told = f"{counted(done.rows, 'row')}, {counted(done.files, 'file')}, {done.bytes / 1e6:,.1f} MB"
        printer.say(f"export: {options.path} ({told})")
        printer.document(
            export=options.path, format=options.format, rows=done.rows, bytes=done.bytes, complete=found.complete
        )
        return found.complete


def _size(text: str | None) -> int | None:
    try:
        return parse_memory(text) if text else None
    except ValueError as error:
        raise InputError(f"--max-file-size {text}: {error}") from None
