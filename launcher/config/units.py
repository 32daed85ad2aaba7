"""Memory sizes and time limits as sbatch writes them.

Sizes count in powers of 1024 and a number without a unit is megabytes; times without a colon are minutes:
both as in sbatch(1), options --mem and --time.
"""

import re

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_TIME = re.compile(r"(?:(?P<days>\d+)-(?P<parts>\d+(?::\d+){0,2}))|(?P<short>\d+(?::\d+){0,2})")
SIZE_FORMS = "a size such as 64G, 1.5T or 500M (K, M, G, T; a plain number is megabytes)"
TIME_FORMS = "a time such as 4:00:00, 1-00:00:00 or 30 (minutes)"


def parse_memory(value: str | int) -> int:
    """Bytes of a size such as ``64G``. Raises ValueError, with the valid forms, where it is none."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"must be {SIZE_FORMS}, not {value!r}")
    return round(float(match[1]) * _UNITS[(match[2] or "M").upper()])


def format_memory(size: int) -> str:
    """Bytes as sbatch reads them: whole megabytes, rounded up, in the largest unit that divides them."""
    size = -(-size // _UNITS["M"]) * _UNITS["M"]
    unit = next(unit for unit in "TGM" if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit if size else ''}"


def parse_time(value: str | int) -> int:
    """Seconds of a time limit such as ``4:00:00``. Raises ValueError, with the valid forms, if it is none."""
    match = None if isinstance(value, bool) else _TIME.fullmatch(str(value))
    seconds = 0 if match is None else _seconds(match)
    if seconds == 0:
        raise ValueError(f"must be {TIME_FORMS}, not {value!r}; for no limit of your own leave it out")
    return seconds


def _seconds(match: re.Match[str]) -> int:
    if match["days"] is not None:  # days-hours[:minutes[:seconds]]
        parts, scales = match["parts"].split(":"), (3600, 60, 1)
    else:  # minutes, minutes:seconds or hours:minutes:seconds
        parts = match["short"].split(":")
        scales = (3600, 60, 1) if len(parts) == 3 else (60, 1, 0)
    clock = sum(int(part) * scale for part, scale in zip(parts, scales, strict=False))
    return int(match["days"] or 0) * 86_400 + clock


def format_time(seconds: int) -> str:
    """Seconds as sbatch reads them: ``4:00:00``, with days from 24 hours on: ``1-00:00:00``."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{minute:02d}:{second:02d}"
    return f"{days}-{hour:02d}:{clock}" if days else f"{hour}:{clock}"
