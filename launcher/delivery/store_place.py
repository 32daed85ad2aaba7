"""StorePlace: whether a result may be written to a URL; asked when a run is planned, and again before it is written."""

from collections.abc import Collection

from jobs.errors import InputError
from jobs.references.stores import check_url, listed, read_range
from jobs.references.uploads import explained, try_writing
from jobs.storage.rundir import RunDir
from jobs.storage.seals import HEAD, seal_in
from launcher.runs.delivered import Delivered


def problem(store: str, run: RunDir, manifest: str | None, *, is_folder: bool) -> str | None:
    """Why no result can be written there, with what to do; a small object beside it is written to see."""
    url = store.replace("{manifest}", manifest or "")
    try:
        check_url(url)
        try_writing(f"{url}.try")
        record = Delivered.read(run, manifest)
        own = record.own if record else set[str]()
        return objection_to_folder(url, own) if is_folder else objection(url, own)
    except InputError as error:
        return str(error)
    except OSError as error:
        return explained(error)


def objection(url: str, own: Collection[str]) -> str | None:
    """What speaks against a result being there; None where nothing does. Raises OSError where the store does not tell.

    ``own``: what the run has put there, or elsewhere. A result of another run may be all that there is of that.
    """
    head = _head(url)
    if head is None or url in own:
        return None
    what = "is no result" if seal_in(head) is None else "is not of this run"
    return f"{url}: is there and {what}, so it is not replaced; move it away, or change output.path"


def objection_to_folder(url: str, own: Collection[str]) -> str | None:
    """The same of objects below it, but for those that the run has put there itself. Raises OSError."""
    if others := sorted({one.url for one in listed(f"{url}/")}.difference(own)):
        return (
            f"{url}: has {len(others):,} objects that are not of this run, such as {others[0]}, so nothing is written there; "
            "move them away, or change output.path"
        )
    return None


def holds_complete(url: str) -> bool:
    """Whether a complete result is there, which a lesser one must not replace. Raises OSError."""
    return bool(seal_in(_head(url) or b""))


def _head(url: str) -> bytes | None:
    """How an object begins; None where there is none. Who may not list a bucket is refused what is not there, too."""
    try:
        return read_range(url, 0, HEAD)
    except (FileNotFoundError, PermissionError):
        return None
