"""OldValues: plain values that YAML 1.1, and this project before, take for something else than YAML 1.2 does."""

import re
from typing import Any

_TEXT = re.compile(r"[-+]?0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|0o[0-7]+")


def is_old_switch(value: Any) -> bool:
    """Whether it is text that was true or false."""
    return isinstance(value, str) and value.lower() in ("yes", "no", "on", "off")


def doubt(text: str) -> str | None:
    """What a value is now, and was before; None where it is the same."""
    if is_old_switch(text):
        before = "true" if text.lower() in ("yes", "on") else "false"
        return f"{text} is text, as YAML 1.2 has it, and was {before}: write that, or '{text}'"
    if _TEXT.fullmatch(text):
        number = int(text, 8) if "o" in text else int(text) if text.lstrip("+-").isdecimal() else float(text)
        return f"{text} is a number, as YAML 1.2 has it, and was text: write '{text}', or {number}"
    return None
