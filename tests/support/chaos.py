"""How much a chaos test does: a little in `make test`, far more in `make chaos`, which sets CHAOS_NAME for each."""

import os


def amount(name: str, short: int) -> int:
    """How many of what a test is named after; ``short`` without CHAOS_NAME in the environment."""
    return int(os.environ.get(f"CHAOS_{name}", short))
