"""man: a man page of each command, made of what ``--help`` says of it."""

import argparse
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from jobs.errors import InputError
from jobs.nearest import guess
from jobs.storage.files import write_bytes
from jobs.storage.new_folder import make_folder
from launcher import __version__
from launcher.commands.printer import Printer
from launcher.examples import EXAMPLES

_NAME = "launcher"
_EXIT_CODES = (
    ("0", "done and complete"),
    ("1", "something failed, or the result is not complete"),
    ("2", "bad input"),
    ("75", "launcher run --once: it goes on"),
    ("130", "interrupted"),
)


def man(options: argparse.Namespace, printer: Printer) -> bool:
    parser, commands = options.parsers
    pages = {_NAME: _page(_NAME, parser, commands)} | {
        f"{_NAME}-{name}": _page(f"{_NAME}-{name}", command, commands) for name, command in commands.items()
    }
    if options.output:
        return _write(Path(options.output), pages, printer)
    name = _NAME if options.page is None else f"{_NAME}-{options.page.removeprefix(f'{_NAME}-')}"
    if name not in pages:
        raise InputError(f"no command {options.page!r}{guess(options.page, commands)}")
    if not options.json:
        print(pages[name], end="")
    printer.document(page=name, text=pages[name])
    return True


def _write(folder: Path, pages: dict[str, str], printer: Printer) -> bool:
    make_folder(folder)
    paths = [folder / f"{name}.1" for name in pages]
    for path, page in zip(paths, pages.values(), strict=True):
        write_bytes(path, page.encode())
    how = f"man -l {folder / _NAME}.1 (by name, man finds them in a folder that is called man1)"
    if folder.name == "man1":
        how = f"man {_NAME} (if not found: man -M {folder.parent.absolute()} {_NAME})"
    printer.say(f"written: {len(paths)} pages to {folder}; read them: {how}")
    printer.document(files=list(map(str, paths)))
    return True


def _page(name: str, parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """A page in the macros of man(7)."""
    command = name.removeprefix(f"{_NAME}-")
    summary = str(parser.description).rstrip(".")
    vars(parser)["color"] = False  # with which it is written for terminals, from Python 3.14 on
    usage = re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ")).strip()
    own = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    lines = [
        f'.TH "{name.upper()}" "1" "{date.today()}" "{_NAME} {__version__}" "{_NAME}"',
        *(".SH NAME", f"{_text(name)} \\- {_text(summary)}"),
        *(".SH SYNOPSIS", *_wrapped(usage)),
        *(".SH ARGUMENTS AND OPTIONS", *(line for action in own for line in _option(action))),
        *(_commands(commands) if name == _NAME else ()),
        *_examples(command),
        *(".SH EXIT STATUS", *(line for code, meaning in _EXIT_CODES for line in (".TP", f"\\fB{code}\\fR", meaning))),
        *(".SH SEE ALSO", f"{_NAME}(1), {_NAME}-doctor(1), sbatch(1)"),
    ]
    return "\n".join(lines) + "\n"


def _option(action: argparse.Action) -> Iterator[str]:
    value = f" \\fI{_text(str(action.metavar or '|'.join(action.choices or ())))}\\fR" if action.nargs != 0 else ""
    names = ", ".join(f"\\fB{_text(option)}\\fR" for option in action.option_strings)
    yield from (".TP", f"{names}{value}".strip(), _text(action.help or ""))


def _examples(command: str) -> Iterator[str]:
    for number, (does, typed) in enumerate(EXAMPLES.get(command, ())):
        yield from ([] if number else [".SH EXAMPLES"])
        yield from (".TP", _text(does), f"\\fB{_text(typed)}\\fR")


def _commands(commands: Mapping[str, argparse.ArgumentParser]) -> Iterator[str]:
    yield ".SH COMMANDS"
    for name, parser in commands.items():
        yield from (".TP", f"\\fB{_text(f'{_NAME}-{name}')}\\fR(1)", _text(str(parser.description)))


def _wrapped(usage: str) -> Iterator[str]:
    """A usage in lines that are short in the source, too."""
    words = re.findall(r"\[[^\]]*\]|\S+", usage)
    yield from (_text(word) for word in words)


def _text(text: str) -> str:
    """Plain text: roff has escapes that begin with a backslash, and lines that begin with a dot or quote."""
    escaped = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("~", "\\(ti")
    )
    return re.sub(r"^\.", "\\&.", escaped.replace("%%", "%").replace("^", "\\(ha"))
