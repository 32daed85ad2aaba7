"""How much of what could go on for ever a test does: all in `make thorough`, which sets THOROUGH; less in `make test`."""

import os

THOROUGH = bool(os.environ.get("THOROUGH"))


def examples(number: int) -> int:
    """How many examples hypothesis draws for a test of which so many are wanted each night."""
    return number if THOROUGH else max(1, number // 3)
