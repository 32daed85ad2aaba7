"""jobs, init, schema."""

import argparse
import shlex
import textwrap
from pathlib import Path

from jobs.errors import InputError
from jobs.extras import DISTRIBUTION
from launcher.catalogue.catalogue import Entry, built_in, find, of_other_packages
from launcher.commands.printer import Printer
from launcher.target import check_file

_WIDTH = 120


def jobs(options: argparse.Namespace, printer: Printer) -> bool:
    if options.name is None:
        entries = [*built_in(), *of_other_packages()]
        for entry in entries:
            parameters = [] if entry.problem else _parameter_lines(entry)
            printer.say(*_head(entry), *_wrapped(entry.problem or entry.summary, "  "), *parameters, "")
        printer.say("a config for one: launcher init JOB; your own Job: launcher jobs MODULE:CLASS")
        printer.document(jobs=[entry.to_json() for entry in entries])
        return True
    entry = find(options.name, Path())
    text = entry.text.replace("``", "").splitlines()
    printer.say(*_head(entry), *(["", *text] if text else []), "", "Parameters:", *_parameter_lines(entry))
    printer.document(**entry.to_json())
    return True


def _head(entry: Entry) -> list[str]:
    """Its path, and what is to be known before one uses it."""
    of = f"  (of the package {entry.package})" if entry.package not in (None, DISTRIBUTION) else ""
    install = [f"  not usable yet; to install what it needs: {entry.to_install}"] if entry.to_install else []
    return [f"{entry.path}{of}", *install]


def _parameter_lines(entry: Entry) -> list[str]:
    lines: list[str] = []
    for parameter in entry.parameters:
        type_and_default = ", ".join(filter(None, [parameter.type_text, parameter.default_text]))
        words = f": {parameter.words}" if parameter.words else ""
        lines += _wrapped(f"{parameter.name} ({type_and_default}){words}", "  ")
    return lines or ["  none"]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def init(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.catalogue.blank import render
    from launcher.catalogue.config_schema import config_schema, schema_file, write_schema

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
    write_schema(schema_file(path), config_schema(entry))
    missing = [p.name for p in entry.parameters if p.required and f"    # {p.name}:" in text.splitlines()]
    open_keys = [f"job.params.{name}" for name in missing]
    if not any(one.startswith("data.manifest=") for one in options.set):
        open_keys.append("data.manifest")
    fill_in = [f"fill in: {', '.join(open_keys)}"] if open_keys else []
    config = shlex.quote(str(path))
    install = [f"first: {entry.to_install}"] if entry.to_install else []
    printer.say(
        f"written: {path}, and {schema_file(path)} for editors",
        *fill_in,
        *install,
        f"next: launcher try {config}, then launcher plan {config} and launcher run {config}",
    )
    printer.document(config=str(path), job=entry.path, json_schema=str(schema_file(path)))
    return True


def schema(options: argparse.Namespace, printer: Printer) -> bool:
    from launcher.catalogue.config_schema import config_schema, encoded, write_schema

    if options.document:
        from launcher.documents.documents import document_schema

        made = document_schema(options.document)
    else:
        made = config_schema(find(options.job, Path()) if options.job else None)
    if options.output:
        check_file(Path(options.output), "schema.json")
        write_schema(Path(options.output), made)
        printer.say(f"written: {options.output}")
    elif not options.json:
        print(encoded(made), end="")
    printer.document(json_schema=made)
    return True
