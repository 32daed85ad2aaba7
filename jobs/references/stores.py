"""Stores: objects by URL, in S3, Google Cloud Storage, Azure or behind HTTP, by obstore (the extra ``remote``).

Credentials, regions and endpoints are what obstore finds in the environment of the process (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL ...); none are in a URL, since that is written down. It tries again by itself what a store refuses for a while.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from jobs import extras
from jobs.errors import InputError

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https")
FILE = "file"
_CHUNK = 4 << 20
# Of an object that is written in parts: S3 takes 10,000 of them.
_LEAST_PART, _MOST_PARTS = 8 << 20, 9000


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
    """What a store tells of an object; ``changed``: when, seconds."""

    url: str
    size: int
    changed: float


@lru_cache(maxsize=64)
def _store(root: str) -> Any:
    from obstore.store import from_url

    return from_url(root, client_options={"allow_http": True}) if root.startswith("http") else from_url(root)


def _located(url: str) -> tuple[Any, str]:
    """The store of a URL, and the object's name there."""
    scheme, _, rest = url.partition("://")
    place, _, name = rest.partition("/")
    return _store(f"{scheme}://{place}"), unquote(name) if scheme.startswith("http") else name


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """What goes wrong inside as OSError with the URL; obstore's own words are a page long."""
    from obstore.exceptions import BaseError

    try:
        _Client.use()
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", url) from None
    except (BaseError, OSError, ValueError) as error:
        code, what = getattr(error, "errno", None), getattr(error, "strerror", None)
        raise OSError(code or errno.EIO, what or str(error).partition("\n\nDebug source")[0].strip(), url) from None


def describe(url: str) -> StoredObject:
    """Raises OSError where it cannot be had."""
    import obstore

    with _asking(url):
        store, name = _located(url)
        meta = obstore.head(store, name)
    return StoredObject(url, meta["size"], meta["last_modified"].timestamp())


def read_range(url: str, start: int, length: int) -> bytes:
    """Some bytes of an object, fewer where it ends. Raises OSError."""
    import obstore

    with _asking(url):
        store, name = _located(url)
        return bytes(obstore.get_range(store, name, start=start, length=length))


def read_all(url: str) -> bytes:
    """All bytes of an object. Raises OSError."""
    import obstore

    with _asking(url):
        store, name = _located(url)
        return bytes(obstore.get(store, name).bytes())


def copy_to(url: str, file: BinaryIO) -> None:
    """Writes all of an object into an open file. Raises OSError: what names the URL is the store's, other is the disk's."""
    import obstore

    with _asking(url):
        store, name = _located(url)
        found = obstore.get(store, name)
        chunks = iter(found.stream(min_chunk_size=_CHUNK))
    start = file.tell()
    while chunk := _next(url, chunks):
        file.write(chunk)
    if (came := file.tell() - start) != found.meta["size"]:
        raise OSError(errno.EIO, f"{came:,} bytes came of {found.meta['size']:,}", url)


def _next(url: str, chunks: Iterator[Any]) -> Any:
    with _asking(url):
        return next(chunks, None)


def put_file(path: Path, url: str) -> None:
    """Writes an object, whole or not at all: a large one in parts, which a store joins when it has all. Raises OSError.

    S3 compares each part with the SHA-256 that its request is signed with.
    """
    import obstore

    with _asking(url):
        store, name = _located(url)
        obstore.put(store, name, path, chunk_size=max(_LEAST_PART, path.stat().st_size // _MOST_PARTS + 1))
    if (size := describe(url).size) != path.stat().st_size:
        raise OSError(errno.EIO, f"has {size:,} bytes, and {path.stat().st_size:,} were written", url)


def listed(url: str) -> Iterator[StoredObject]:
    """The objects whose names begin with that of the URL, up to its last slash. Raises OSError; HTTP has no lists."""
    import obstore

    with _asking(url):
        store, name = _located(url)
        root = url[: len(url) - len(name)]
        folder = name.rpartition("/")[0]
        for some in obstore.list(store, prefix=folder or None):
            for meta in some:
                yield StoredObject(f"{root}{meta['path']}", meta["size"], meta["last_modified"].timestamp())
