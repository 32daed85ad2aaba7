"""doctor."""

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher import __version__
from launcher.commands.printer import Printer
from launcher.config.config import load_config, profile_config
from launcher.doctor.examination import Examination, examine
from launcher.executors import Finding

_WIDTH = 80
_COLUMN = 18


def doctor(options: argparse.Namespace, printer: Printer) -> bool:
    config = load_config(Path(options.config), options.set) if options.config else profile_config(options.set)
    found = examine(config)
    printer.say(f"launcher {__version__}, doctor {options.config or ''}".rstrip(), *_lines(found))
    printer.document(version=__version__, config=options.config, **found.to_json())
    return found.is_well


def _lines(found: Examination) -> Iterator[str]:
    yield from ("", "settings (all else is default)")
    for one in found.settings:
        yield from _wrapped(f"{one.key} = {_text(one.value)}", f"({one.origin})")
    if not found.settings:
        yield "  none"
    if not found.profiles:
        yield "  no profile (/etc/launcher.yaml, ~/.config/launcher.yaml, LAUNCHER_PROFILE)"
    for title, findings in found.sections.items():
        yield from ("", title)
        for finding in findings:
            yield from _finding(finding)
    yield ""
    if found.is_well:
        yield "nothing that is needed is missing" + ("; what else is missing: lines with -" if found.missing else "")
    else:
        yield "missing, and needed: lines with !"


def _finding(finding: Finding) -> Iterator[str]:
    head, indent = f"  {finding.name:<{_COLUMN - 3}} ", " " * _COLUMN
    yield from textwrap.wrap(
        head + finding.text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [head]
    if finding.lacks:
        sign = "!" if finding.is_needed else "-"
        for number, line in enumerate(finding.lacks.splitlines()):
            first = f"{indent[:-2]}{sign} " if number == 0 else indent
            yield from textwrap.wrap(
                line,
                _WIDTH,
                initial_indent=first,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )


def _wrapped(*parts: str) -> Iterator[str]:
    """On one line, where there is room."""
    line = f"  {'  '.join(parts)}"
    yield from [line] if len(line) <= _WIDTH else [f"  {parts[0]}", *(f"      {part}" for part in parts[1:])]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
