"""Argument: a word of a program's command line, with fields that each sample fills."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import InputError


@dataclass(frozen=True)
class Argument:
    """``--input={path}`` as pairs of text and the name of the field after it, None after the last text."""

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, parameter: str, text: object) -> "Argument":
        """Raises InputError, which names ``parameter``, for what is no text or has fields of another form."""
        if not isinstance(text, str):
            raise InputError(f"job.params: {parameter}: {text!r} is not valid; valid: text (in YAML, quote numbers)")
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise InputError(
                f"job.params: {parameter}: {text!r}: {error}; for a brace itself, write it twice"
            ) from None
        if any(name == "" or spec or conversion for _, name, spec, conversion in parsed):
            valid = "{column} alone, without : and !; for a brace itself, write it twice"
            raise InputError(f"job.params: {parameter}: {text!r} is not valid; valid: {valid}")
        return cls(tuple((literal, name) for literal, name, _, _ in parsed))

    @property
    def fields(self) -> set[str]:
        return {name for _, name in self.parts if name is not None}

    def fill(self, values: Mapping[str, Any]) -> str:
        """The text of a sample; raises ValueError where a field has none."""
        return "".join(literal + (_text(values, name) if name is not None else "") for literal, name in self.parts)

    def fill_bytes(self, values: Mapping[str, Any]) -> bytes:
        """The same in UTF-8; what is one field alone may be of bytes."""
        if len(self.parts) == 1 and self.parts[0][0] == "" and isinstance(values.get(self.parts[0][1] or ""), bytes):
            found: bytes = values[self.parts[0][1] or ""]
            return found
        return self.fill(values).encode()


def _text(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        raise ValueError(f"the manifest has no column {name!r}; its columns and other fields: {', '.join(values)}")
    value = values[name]
    if not isinstance(value, str | int | float):
        found = "null" if value is None else f"of type {type(value).__name__}"
        raise ValueError(f"column {name!r} is {found} here; valid: text and numbers")
    if value != value:  # which mostly means that there is none
        raise ValueError(f"column {name!r} is NaN here; valid: text and numbers")
    return str(value)
