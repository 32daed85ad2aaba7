"""Notification: the key ``notify``: who is told that a run has ended: a command, or a server by its URL."""

import string
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator

_FIELDS = ("name", "state", "run")
_VALID = "a command as a list of words, such as [mail, -s, '{name}: {state}', me@example.org], or a URL (https://...)"


def _check(value: Any) -> Any:
    if isinstance(value, str) and _is_url(value):
        return value
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value) and value[0]:
        for word in value:
            _check_fields(word)
        return tuple(value)
    if value is None:
        return value
    raise ValueError(f"must be {_VALID}, not {value!r}")


def _is_url(text: str) -> bool:
    """Whether it is one, or begins with the variable that has it."""
    parts = urlsplit(text)
    return text.startswith("$") or (parts.scheme in ("http", "https") and bool(parts.netloc))


def _check_fields(word: str) -> None:
    try:
        fields = list(string.Formatter().parse(word))
    except ValueError as error:
        raise ValueError(f"{word!r}: {error}; for a brace itself, write it twice") from None
    for _, name, form, conversion in fields:
        if name is not None and (name not in _FIELDS or form or conversion):
            listed = ", ".join(f"{{{known}}}" for known in _FIELDS)
            raise ValueError(f"{word!r}: valid in braces: {listed}; for a brace itself, write it twice")


Target: TypeAlias = Annotated[str | tuple[str, ...] | None, BeforeValidator(_check)]
