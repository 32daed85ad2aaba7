"""ExportPlace: where an export goes: a folder, or a place in a store, which gets the files once all are made.

A store has no folders that come to be at once. So _result.json is the last that it gets: where it is, all is.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import InputError, RunError
from jobs.references.stores import check_url, is_url, listed, local_path
from jobs.references.uploads import explained, send
from launcher.export.export import RESULT


@contextmanager
def delivered(place: str) -> Iterator[Path]:
    """The path to make the folder at, for a path or a URL. Raises InputError where something is there, RunError of a store."""
    if not is_url(place):
        yield Path(local_path(place))
        return
    check_url(place)
    url = place.rstrip("/")
    with _asking(url):
        _refuse_existing(url)
    with tempfile.TemporaryDirectory(prefix="launcher-export-", ignore_cleanup_errors=True) as folder:
        made = Path(folder, "export")
        yield made
        files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
        with _asking(url):
            for file in sorted(files, key=lambda one: one.name == RESULT):
                send(made / file, f"{url}/{file}")


@contextmanager
def _asking(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{explained(error)}; what is at {url} is not whole: remove it, then export again") from error


def _refuse_existing(url: str) -> None:
    names = {one.url.removeprefix(f"{url}/") for one in listed(f"{url}/")}
    if names:
        what = (
            "is there already, and is not replaced"
            if RESULT in names
            else "has what an export that was killed has left"
        )
        raise InputError(f"{url}: {what} ({len(names):,} objects); remove it, or give another place")
