"""Stores: objects by URL, in S3, Google Cloud Storage, Azure or behind HTTP, by obstore (the extra ``remote``).

Credentials, regions and endpoints are what obstore finds in the environment of the process (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL ...); none are in a URL, since that is written down. It tries again by itself what a store refuses for a while.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from jobs import extras
from jobs.errors import InputError

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https")
FILE = "file"
_CHUNK = 4 << 20
# Of a request's answer: obstore ends each after half a minute, and resumes it ten times at most.
_ANSWER = 64 << 20
_PATIENCE = 180


def is_url(text: str) -> bool:
    """Whether this names an object of a store, not a path."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.lower() in SCHEMES


def local_path(text: str) -> str:
    """The path of a file:// URL; any other text as it is."""
    return unquote(urlsplit(text).path) if text.startswith(f"{FILE}://") else text


def check_url(url: str) -> None:
    """Raises InputError where it cannot be read here: the extra is missing, or it holds what is nobody's to read."""
    parts = urlsplit(url)
    is_http = parts.scheme.startswith("http")
    # abfss://CONTAINER@ACCOUNT... is no user, and s3://KEY:SECRET/... no host.
    if parts.password or (is_http and (parts.username or parts.query)) or (not is_http and ":" in parts.netloc):
        raise InputError(
            f"{parts.scheme}://{parts.hostname}{parts.path}: a password, or a signature, would be written into the plan; "
            "obstore reads them from variables of the environment"
        )
    if missing := extras.missing("remote"):
        raise InputError(f"{url}: needs {', '.join(missing)}: {extras.how_to_install('remote')}")


class _Client:
    """Whether this process has asked a store, or one that it was forked from has.

    obstore's threads stay with the process that began with it: a child of it would wait for them for ever.
    """

    is_used = is_lost = False

    @classmethod
    def use(cls) -> None:
        if cls.is_lost:
            raise OSError(
                errno.EDEADLK,
                "cannot be read: the process that this one was forked from has read from a store already; read there only what "
                "is asked for after the fork (in setup, setup_worker or load, not where the module is imported)",
            )
        cls.is_used = True

    @classmethod
    def forked(cls) -> None:
        cls.is_lost = cls.is_used or cls.is_lost


os.register_at_fork(after_in_child=_Client.forked)


@dataclass(frozen=True)
class StoredObject:
    """What a store tells of an object; ``changed``: when, seconds; ``tag``: its ETag, other for other bytes."""

    url: str
    size: int
    changed: float
    tag: str = ""


@lru_cache(maxsize=64)
def _store(root: str, seconds: int) -> Any:
    from obstore.store import from_url

    retries: Any = {"retry_timeout": timedelta(seconds=seconds)}
    # With options for its client, obstore would not look for any in the environment.
    client: Any = {"allow_http": True} if root.startswith("http") else None
    return from_url(root, client_options=client, retry_config=retries)


def located(url: str, seconds: int = _PATIENCE) -> tuple[Any, str]:
    """The store of a URL, and the object's name there; for so long it tries again what the store does not do at once."""
    scheme, _, rest = url.partition("://")
    place, _, name = rest.partition("/")
    return _store(f"{scheme}://{place}", seconds), unquote(name) if scheme.startswith("http") else name


# What a store's words mean, by the first of these that is among them.
_MEANINGS = (
    (re.compile(r"169\.254\.169\.254|metadata/|must be specified|[Cc]redential"), errno.ENOKEY),
    (re.compile(r"\b(429|503)\b|SlowDown"), errno.EAGAIN),
    (re.compile(r"error sending request|tim(ed|e) ?out|[Cc]onnect|dns|50[0-9] "), errno.ETIMEDOUT),
)
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S*")


@contextmanager
def asking(url: str) -> Iterator[None]:
    """What goes wrong inside as OSError with the URL: obstore's own words are a page long, and may have a signature.

    ``errno``: ENOENT, EACCES (not with these credentials), ENOKEY (there are none), EAGAIN (the store is busy), ETIMEDOUT (it
    does not answer), EIO (anything else).
    """
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        _Client.use()
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", url) from None
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise OSError(errno.EACCES, _words(error), url) from None
    except (BaseError, OSError, ValueError) as error:
        code, what = getattr(error, "errno", None), getattr(error, "strerror", None)
        raise OSError(code or _meaning(_words(error)), what or _words(error), url) from None


def _words(error: Exception) -> str:
    return _QUERY.sub(r"\1", str(error).partition("\n\nDebug source")[0]).strip()


def _meaning(words: str) -> int:
    return next((code for pattern, code in _MEANINGS if pattern.search(words)), errno.EIO)


def describe(url: str) -> StoredObject:
    """Raises OSError where it cannot be had."""
    import obstore

    with asking(url):
        store, name = located(url)
        meta = obstore.head(store, name)
    return StoredObject(url, meta["size"], meta["last_modified"].timestamp(), (meta["e_tag"] or "").strip('"'))


def read_range(url: str, start: int, length: int) -> bytes:
    """Some bytes of an object, fewer where it ends. Raises OSError."""
    import obstore

    with asking(url):
        store, name = located(url)
        return bytes(obstore.get_range(store, name, start=start, length=length))


def read_all(url: str) -> bytes:
    """All bytes of an object. Raises OSError."""
    import obstore

    with asking(url):
        store, name = located(url)
        return bytes(obstore.get(store, name).bytes())


def copy_to(url: str, file: BinaryIO) -> None:
    """Writes all of an object into an open file. Raises OSError: what names the URL is the store's, other is the disk's."""
    file.writelines(read_chunks(url))


def read_chunks(url: str) -> Iterator[bytes]:
    """All bytes of an object, some megabytes at a time; none of another that takes its place meanwhile. Raises OSError."""
    known = describe(url)
    # A server of HTTP may know no ranges.
    step = known.size if url.startswith("http") else _ANSWER
    for start in range(0, known.size, step) if known.size else ():
        stop, came = min(start + step, known.size), start
        for chunk in _answer(known, start, stop):
            came += len(chunk)
            yield chunk
        if came != stop:
            raise OSError(errno.EIO, f"{came:,} bytes came of {known.size:,}", url)


def _answer(known: StoredObject, start: int, stop: int) -> Iterator[bytes]:
    """Bytes ``[start, stop)`` of an object as it was known."""
    import obstore

    options: Any = {"if_match": f'"{known.tag}"'} if start and known.tag else {}
    if stop - start < known.size:
        options["range"] = (start, stop)
    with asking(known.url):
        store, name = located(known.url)
        chunks = iter(obstore.get(store, name, options=options).stream(min_chunk_size=_CHUNK))
    while True:
        with asking(known.url):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield bytes(chunk)


def listed(url: str) -> Iterator[StoredObject]:
    """The objects whose names begin with that of the URL, up to its last slash. Raises OSError; HTTP has no lists."""
    import obstore

    with asking(url):
        store, name = located(url)
        root = url[: len(url) - len(name)]
        folder = name.rpartition("/")[0]
        for some in obstore.list(store, prefix=folder or None):
            for meta in some:
                yield StoredObject(f"{root}{meta['path']}", meta["size"], meta["last_modified"].timestamp())
