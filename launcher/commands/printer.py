"""Printer: where a command's words go: with --json one document on stdout, messages on stderr."""

import json
import sys
from typing import Any, TextIO

SCHEMA = 1


class Printer:
    """Messages for people, a document for programs."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def stream(self) -> TextIO:
        """Where messages and progress go."""
        return sys.stderr if self.as_json else sys.stdout

    def say(self, *lines: str) -> None:
        print("\n".join(lines), file=self.stream, flush=True)

    def document(self, **content: Any) -> None:
        """Prints the JSON document, where one is asked for; ``schema`` is added."""
        if self.as_json:
            print(json.dumps({"schema": SCHEMA, **content}, indent=1))

    def warn(self, *lines: str) -> None:
        """What the user should know, whatever becomes of stdout."""
        print("\n".join(lines), file=sys.stderr, flush=True)

    def error(self, message: str) -> None:
        print(f"launcher: {message}", file=sys.stderr, flush=True)
        self.document(error=message)
