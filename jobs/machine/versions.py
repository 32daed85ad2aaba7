"""Versions: of Python, of this project and of the packages whose arithmetic is in a result, without importing any of them."""

import importlib.util
import platform
import re
from pathlib import Path

_PACKAGES = ("launcher", "numpy", "torch")
_VERSION = re.compile(r"""^(?:__version__|version)\b[^=\n]*=\s*["']([^"']+)["']""", re.MULTILINE)


def installed_versions() -> dict[str, str]:
    """By name; without what is not installed or does not say."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        if version := _version(package):
            found[package] = version
    return found


def _version(package: str) -> str | None:
    """What a package says of itself in its sources: its metadata says less (2.4.0 of a 2.4.0+cu121), and takes longer."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for name in ("version.py", "__init__.py"):
            try:
                text = Path(folder, name).read_text(errors="replace")
            except OSError:
                continue
            if said := _VERSION.search(text):
                return said[1]
    return None
