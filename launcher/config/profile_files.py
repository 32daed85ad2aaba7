"""ProfileFiles: which profiles count here; apart from what is in them, since commands ask that need no YAML."""

import os
from pathlib import Path

SITE = Path("/etc/launcher.yaml")
VARIABLE = "LAUNCHER_PROFILE"
_FILE = "launcher.yaml"


def profile_files() -> list[Path]:
    """Those that count here, the nearest one last; none at all where LAUNCHER_PROFILE is /dev/null."""
    if os.environ.get(VARIABLE) == os.devnull:
        return []
    there = [path for path in (SITE, _of_person()) if path and os.path.lexists(path)]
    return [*there, *filter(None, [named_file()])]


def named_file() -> Path | None:
    """The one of this shell, which has to be there."""
    text = os.environ.get(VARIABLE)
    return Path(os.path.abspath(os.path.expanduser(text))) if text else None


def _of_person() -> Path | None:
    """None where nobody knows this user's home; a folder that is not absolute does not count (XDG base directories)."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    path = Path(folder if os.path.isabs(folder) else os.path.expanduser("~/.config"), _FILE)
    return path if path.is_absolute() else None
