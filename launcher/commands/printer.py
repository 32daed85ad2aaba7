"""Printer: where a command's words go: with --json one document on stdout, messages on stderr."""

import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

from launcher.visible import visible

SCHEMA = 1


class Printer:
    """Messages for people, a document for programs: one, the first that there is."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._has_document = False

    @property
    def stream(self) -> TextIO:
        """Where messages and progress go."""
        return sys.stderr if self.as_json else sys.stdout

    @property
    def width(self) -> int | None:
        """Columns of the terminal that messages go to; None where they go into a pipe or a file."""
        if not self.stream.isatty():
            return None
        from shutil import get_terminal_size  # it imports every way to compress

        return get_terminal_size().columns

    def say(self, *lines: str) -> None:
        print("\n".join(map(visible, lines)), file=self.stream, flush=True)

    def document(self, **content: Any) -> None:
        """Prints the JSON document, where one is asked for; ``schema`` is added."""
        if self.as_json and not self._has_document:
            self._has_document = True
            print(json.dumps({"schema": SCHEMA, **content}, indent=1))

    def stream_list(self, name: str, entries: Iterable[Mapping[str, Any]], **content: Any) -> None:
        """Prints the JSON document with a list that may be long: an entry a line, as they come."""
        head, coming = json.dumps({"schema": SCHEMA, **content})[:-1], iter(entries)
        first = list(itertools.islice(coming, 1))  # what is wrong with them shows before anything is printed
        print(f'{head}, "{name}": [', end="")
        for number, entry in enumerate(itertools.chain(first, coming)):
            print(f"{',' if number else ''}\n{json.dumps(entry)}", end="")
        print("\n]}")

    def csv(self, columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> None:
        """Prints a table for programs; what a line has beside these columns is left out."""
        from csv import DictWriter

        text = io.StringIO()
        writer = DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        print(visible(text.getvalue()) if sys.stdout.isatty() else text.getvalue(), end="")

    def warn(self, *lines: str) -> None:
        """What the user should know, whatever becomes of stdout."""
        print("\n".join(map(visible, lines)), file=sys.stderr, flush=True)

    def error(self, message: str) -> None:
        with suppress(OSError):  # the exit code tells it, too
            print(f"launcher: {visible(message)}", file=sys.stderr, flush=True)
        with suppress(OSError):
            self.document(error=message)


def rows_line(before: str = "", after: str = "") -> Callable[[int, int], None] | None:
    """Shows how many rows of how many are done, in a line that is drawn over itself; None where there is no terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\r{before}{done:,} of {total:,} rows{after}", end=end, file=sys.stderr, flush=True)

    return show
