"""Plain values: what of Python's objects a config can say: text, numbers, true, false, null, lists and mappings."""

import enum
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jobs.errors import InputError, a_type

VALID = "text, a number, a bool, None, a path, or a list, tuple or mapping of these"


class NotPlainError(ValueError):
    """A value that a config cannot say."""

    def __init__(self, value: object) -> None:
        super().__init__(f"{a_type(value)} is no plain value; valid: {VALID}")


def plain(value: Any) -> Any:
    """The value as YAML has it; raises NotPlainError."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, os.PathLike):
        return plain(os.fspath(value))
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=repr)  # in an order that is the same each time
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): plain(item) for key, item in value.items()}
    raise NotPlainError(value)


def plain_or_refuse(what: str, value: Any) -> Any:
    """The same of what a message calls so; raises InputError."""
    try:
        return plain(value)
    except NotPlainError as error:
        raise InputError(f"{what}: {error}") from None
