"""jobs, init."""

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import InputError
from launcher.catalogue.catalogue import Entry, built_in, find
from launcher.catalogue.param_types import Parameter
from launcher.commands.printer import Printer

_WIDTH = 120


def jobs(options: argparse.Namespace, printer: Printer) -> bool:
    if options.name is None:
        entries = built_in()
        printer.say(*(line for entry in entries for line in [entry.path, *_parts(entry), ""]))
        printer.say("a config for one: launcher init JOB; your own Job: launcher jobs MODULE:CLASS")
        printer.document(jobs=[entry.to_json() for entry in entries])
        return True
    entry = find(options.name, Path())
    printer.say(entry.path, "", *entry.text.replace("``", "").splitlines(), "", "Parameters:", *_parameter_lines(entry))
    printer.document(**entry.to_json())
    return True


def _parts(entry: Entry) -> list[str]:
    return [*_wrapped(entry.summary, "  "), *_parameter_lines(entry)]


def _parameter_lines(entry: Entry) -> list[str]:
    return [line for parameter in entry.parameters for line in _parameter(parameter)] or ["  none"]


def _parameter(parameter: Parameter) -> Iterator[str]:
    told = ", ".join(filter(None, [parameter.type_text, parameter.default_text]))
    words = f": {parameter.words}" if parameter.words else ""
    yield from _wrapped(f"{parameter.name} ({told}){words}", "  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def init(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.catalogue.blank import render

    path = Path(options.file)
    entry = find(options.job, path.parent)
    text = render(entry, path, options.set)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path}: exists; give another name: launcher init {options.job} FILE") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: there is no folder {path.parent}") from None
    missing = [p.name for p in entry.parameters if p.required and f"    # {p.name}:" in text.splitlines()]
    fill_in = [f"fill in: {', '.join([*(f'job.params.{name}' for name in missing), 'data.manifest'])}"]
    printer.say(f"written: {path}", *fill_in, f"next: launcher plan {path}")
    printer.document(config=str(path), job=entry.path)
    return True
