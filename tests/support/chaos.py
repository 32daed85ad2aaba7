"""How much a chaos test does: a little in `make test`, more each night, far more in `make chaos`, which sets CHAOS_NAMEs."""

import os

from tests.support.examples import THOROUGH


def amount(name: str, short: int, thorough: int | None = None) -> int:
    """How many of what a test is named after; without CHAOS_NAME in the environment ``short``, each night ``thorough``."""
    usual = thorough if THOROUGH and thorough is not None else short
    return int(os.environ.get(f"CHAOS_{name}", usual))
