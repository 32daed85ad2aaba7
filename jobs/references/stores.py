"""Stores: objects by URL, in S3, Google Cloud Storage, Azure or behind HTTP, by obstore (the extra ``remote``).

Credentials, regions and endpoints are what obstore finds in the environment of the process (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL ...); none are in a URL, since that is written down. It tries again by itself what a store refuses for a while.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jobs import extras
from jobs.errors import InputError

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https")
FILE = "file"
_CHUNK = 4 << 20


def is_url(text: str) -> bool:
    """Whether this names an object of a store, not a path."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.lower() in SCHEMES


def local_path(text: str) -> str:
    """The path of a file:// URL; any other text as it is."""
    return unquote(urlsplit(text).path) if text.startswith(f"{FILE}://") else text


def check_url(url: str) -> None:
    """Raises InputError where it cannot be read here: the extra is missing, or it holds what is nobody's to read."""
    if missing := extras.missing("remote"):
        raise InputError(f"{url.partition('?')[0]}: needs {', '.join(missing)}: {extras.how_to_install('remote')}")
    parts = urlsplit(url)
    if "@" in parts.netloc or (parts.query and parts.scheme.startswith("http")):
        raise InputError(
            f"{parts.scheme}://{parts.hostname}{parts.path}: a password, or a signature, would be written into the plan; "
            "obstore reads them from variables of the environment"
        )


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
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", url) from None
    except (BaseError, OSError, ValueError) as error:
        raise OSError(errno.EIO, str(error).partition("\n\nDebug source")[0].strip(), url) from None


def describe(url: str) -> StoredObject:
    """Raises OSError where it cannot be had."""
    import obstore

    store, name = _located(url)
    with _asking(url):
        meta = obstore.head(store, name)
    return StoredObject(url, meta["size"], meta["last_modified"].timestamp())


def read_range(url: str, start: int, length: int) -> bytes:
    """Some bytes of an object, fewer where it ends. Raises OSError."""
    import obstore

    store, name = _located(url)
    with _asking(url):
        return bytes(obstore.get_range(store, name, start=start, length=length))


def read_all(url: str) -> bytes:
    """All bytes of an object. Raises OSError."""
    import obstore

    store, name = _located(url)
    with _asking(url):
        return bytes(obstore.get(store, name).bytes())


def copy_to(url: str, path: Path) -> None:
    """Writes all of an object into a file. Raises OSError; what was written by then stays."""
    import obstore

    store, name = _located(url)
    with _asking(url), path.open("wb") as file:
        found = obstore.get(store, name)
        for chunk in found.stream(min_chunk_size=_CHUNK):
            file.write(chunk)
        if file.tell() != found.meta["size"]:
            raise OSError(f"{file.tell():,} bytes came of {found.meta['size']:,}")


def put_file(path: Path, url: str) -> None:
    """Writes an object, whole or not at all: a large one in parts, which a store joins when it has all. Raises OSError.

    S3 compares each part with the SHA-256 that its request is signed with.
    """
    import obstore

    store, name = _located(url)
    with _asking(url):
        obstore.put(store, name, path)
    if (size := describe(url).size) != path.stat().st_size:
        raise OSError(errno.EIO, f"has {size:,} bytes, and {path.stat().st_size:,} were written", url)


def listed(url: str) -> Iterator[StoredObject]:
    """The objects whose names begin with that of the URL, up to its last slash. Raises OSError; HTTP has no lists."""
    import obstore

    store, name = _located(url)
    root = url[: len(url) - len(name)]
    folder = name.rpartition("/")[0]
    with _asking(url):
        for some in obstore.list(store, prefix=folder or None):
            for meta in some:
                yield StoredObject(f"{root}{meta['path']}", meta["size"], meta["last_modified"].timestamp())
