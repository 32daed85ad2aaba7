"""StorePlace: whether a result may be written to a URL; asked when a run is planned, and again before it is written."""

from jobs.errors import InputError
from jobs.references.stores import check_url, read_range
from jobs.references.uploads import explained, try_writing
from jobs.storage.seals import HEAD, seal_in


def problem(url: str) -> str | None:
    """Why no result can be written there, with what to do; a small object beside it is written to see."""
    try:
        check_url(url)
        try_writing(f"{url}.try")
        return objection(url)
    except InputError as error:
        return str(error)
    except OSError as error:
        return explained(error)


def objection(url: str) -> str | None:
    """What speaks against a result being there; None where nothing does. Raises OSError where the store does not tell."""
    head = _head(url)
    if head is None or seal_in(head) is not None:
        return None
    return f"{url}: is there and is no result, so it is not replaced; move it away, or change output.path"


def holds_complete(url: str) -> bool:
    """Whether a complete result is there, which a lesser one must not replace. Raises OSError."""
    return bool(seal_in(_head(url) or b""))


def _head(url: str) -> bytes | None:
    """How an object begins; None where there is none. Who may not list a bucket is refused what is not there, too."""
    try:
        return read_range(url, 0, HEAD)
    except (FileNotFoundError, PermissionError):
        return None
