"""Plurals: how many there are of something, in words."""


def counted(count: int, one: str, several: str = "") -> str:
    """``1 CPU``, ``2 CPUs``, ``1,000 CPUs``."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
