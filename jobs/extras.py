"""Extras: what a plain install leaves out, by what it is for; the one place that knows what the distribution is called.

pyproject.toml lists the same, with versions.
"""

import importlib.util
from pathlib import Path

DISTRIBUTION = "shardrun"

PACKAGES = {
    "torch": ("torch",),
    "text": ("torch", "transformers"),
    "audio": ("torch", "soundfile", "soxr"),
    "kaldi": ("torch", "soundfile", "soxr", "kaldi_native_fbank"),
    "whisper": ("torch", "soundfile", "soxr", "transformers"),
    "image": ("torch", "PIL"),
    "thumbnails": ("PIL",),
    "download": ("httpx2",),
    "generation": ("aiohttp",),
    "pandas": ("pandas",),
    "zarr": ("zarr",),
    "remote": ("obstore",),
    "lance": ("lance",),
    "top": ("textual",),
    "report": ("jinja2", "vl_convert"),
}
"""The packages that are imported for each, by the names that Python knows them by."""


def missing(extra: str) -> list[str]:
    """Those of the extra's packages that are not installed; imports none."""
    return [package for package in PACKAGES[extra] if importlib.util.find_spec(package) is None]


def how_to_install(extra: str) -> str:
    """The command, whatever the current folder is: a checkout stays what is installed from it."""
    checkout = Path(__file__).parents[1]
    is_checkout = (checkout / "pyproject.toml").is_file()
    return f"pip install -e '{checkout}[{extra}]'" if is_checkout else f"pip install '{DISTRIBUTION}[{extra}]'"


def advice(error: BaseException) -> str:
    """For a failed import of a package that is in an extra, what brings it; else nothing."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None  # whatever the user's code has put there
    package = str.partition(name, ".")[0] if isinstance(name, str) else ""
    extra = next((extra for extra, packages in PACKAGES.items() if package in packages), None)
    return f"; {package} comes with {how_to_install(extra)}" if extra else ""
