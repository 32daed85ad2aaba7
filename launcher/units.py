"""Units: sizes, times and counts as text, in the forms of sbatch and in those for people.

For sbatch (and in config.yaml) sizes count in powers of 1024 and a number without a unit is megabytes; times without a
colon are minutes: both as in sbatch(1), options --mem and --time.
"""

import re

from jobs.plural import counted as counted

GIB = 2**30
# More bytes no machine can have: addresses are of 64 bits.
_MOST_BYTES = 2**63
_UNITS = {"K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?) ?(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_TIME = re.compile(r"(?:(?P<days>\d{1,9})-(?P<parts>\d{1,9}(?::\d{1,9}){0,2}))|(?P<short>\d{1,9}(?::\d{1,9}){0,2})")
SIZE_FORMS = "a size such as 64G, 1.5T or 500M (K, M, G, T; a plain number is megabytes)"
TIME_FORMS = "a time such as 4:00:00, 1-00:00:00 or 30 (minutes)"


def parse_memory(value: str | int) -> int:
    """Bytes of a size such as ``64G``. Raises ValueError, with the valid forms, where it is none."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    size = round(float(match[1]) * _UNITS[(match[2] or "M").upper()]) if match else _MOST_BYTES
    if size >= _MOST_BYTES:
        raise ValueError(f"must be {SIZE_FORMS}, not {value!r}")
    return size


def format_memory(size: int) -> str:
    """Bytes as sbatch reads them: whole megabytes, rounded up, in the largest unit that divides them."""
    size = -(-size // _UNITS["M"]) * _UNITS["M"]
    unit = next(unit for unit in "TGM" if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit if size else ''}"


def parse_time(value: str | int) -> int:
    """Seconds of a time limit such as ``4:00:00``. Raises ValueError, with the valid forms, if it is none."""
    match = None if isinstance(value, bool) else _TIME.fullmatch(str(value))
    # days-hours[:minutes[:seconds]], or hours:minutes:seconds, minutes:seconds, minutes
    days, parts = (match["days"], (match["parts"] or match["short"]).split(":")) if match else (None, ["0"])
    scales = (3600, 60, 1) if days or len(parts) == 3 else (60, 1)
    seconds = int(days or 0) * 86_400 + sum(int(part) * scale for part, scale in zip(parts, scales, strict=False))
    if seconds == 0:
        raise ValueError(f"must be {TIME_FORMS}, not {value!r}; for no limit of your own leave it out")
    return seconds


def format_time(seconds: int) -> str:
    """Seconds as sbatch reads them: ``4:00:00``, with days from 24 hours on: ``1-00:00:00``."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{minute:02d}:{second:02d}"
    return f"{days}-{hour:02d}:{clock}" if days else f"{hour}:{clock}"


def short_size(size: int) -> str:
    """Bytes as ``1.5G``, small ones as ``300M``: short, as the config takes them too."""
    return f"{size / GIB:.1f}G" if size >= GIB else f"{-(-size // _UNITS['M'])}M"


def gibibytes(size: int, digits: int = 1) -> str:
    """Bytes as ``1.5 GiB``."""
    return f"{size / GIB:.{digits}f} GiB"


def decimal_size(size: float) -> str:
    """Bytes in powers of 1000, as disks have them: ``1.23 MB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def clock_time(seconds: float) -> str:
    """Seconds as ``1:02:03``; hours count on beyond a day."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def rough_time(seconds: float) -> str:
    """Seconds as one number: ``90.0 s``, ``45 min`` or ``2.5 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def short_time(seconds: float) -> str:
    """``350 µs``, ``2.5 ms``, ``12 s``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def age(seconds: float) -> str:
    """How long ago something was, roughly: ``5 s``, ``45 min``, ``3 h``, ``12 d``."""
    for unit, size, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{max(0.0, seconds) / size:.0f} {unit}"
    return f"{seconds / 86400:,.0f} d"


def short_number(value: float) -> str:
    """Of four digits at least: ``24,330``, ``2.433``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def rows_between(start: int, stop: int) -> str:
    """``row 7``, ``rows 7 to 9``: those of ``[start, stop)``, of which there is one at least."""
    return f"row {start}" if stop - start == 1 else f"rows {start} to {stop - 1}"
