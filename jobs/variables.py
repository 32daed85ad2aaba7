"""Variables: ``$NAME`` and ``${NAME}`` in a text, put in where and when it is used: on a node, or when a run has ended."""

import os
import re
from collections.abc import Callable, Mapping

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def put_in(text: str, missing: Callable[[str], Exception], environment: Mapping[str, str] = os.environ) -> str:
    """The text with the values of its variables. Raises ``missing(name)`` for one that is not set, or is empty."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not environment.get(name):
            raise missing(name)
        return environment[name]

    return _VARIABLE.sub(value, text)
