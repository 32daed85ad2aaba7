"""Uploads: files into stores, each object whole or not at all, and seen there as it was sent before it counts.

A store joins the parts of a large object when it has all: of an upload that is killed nothing is seen. What it refuses for a
while is tried again, with waits that end.
"""

import errno
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import xxhash

from jobs.deadline import begun
from jobs.references.sent_file import SentFile
from jobs.references.stores import asking, describe, is_url, located, read_chunks

# Of an object that is written in parts: S3 takes 10,000 of them. All that are on their way are in memory, and each has half a
# minute, so that some slow lines are enough.
_LEAST_PART, _MOST_PARTS = 8 << 20, 9000
_MOST_MEMORY, _MOST_AT_A_TIME = 128 << 20, 4
# What may be otherwise a while later, and after how many seconds that is tried; obstore itself has tried for minutes each time.
_PASSING = (errno.EAGAIN, errno.ETIMEDOUT, errno.EIO)
_WAITS = (5.0, 30.0, 120.0)
# For how long obstore tries again by itself, seconds: who plans is told soon.
_WRITING, _TRYING = 180, 10
# Seconds between ticks, and for which an upload that is ended may take to say so to its store.
_TICK, _LEAVING = 0.5, 5.0
_ADVICE = {
    errno.ENOENT: "NO_BUCKET: there is none of this name, or not for these credentials; see the bucket, and the region",
    errno.EACCES: "PERMISSION: the credentials of this environment may not do that there; see whose they are "
    "(AWS_ACCESS_KEY_ID, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME ...), and what these may",
    errno.ENOKEY: "NO_CREDENTIALS: this environment has none (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME ...); ~/.aws is not read",
    errno.EAGAIN: "BUSY: the store asks to come again later",
    errno.ETIMEDOUT: "UNREACHABLE: nothing answers from here; see the network of this machine, and the endpoint "
    "(AWS_ENDPOINT_URL ...)",
}

Tick = Callable[[], None]


def explained(error: OSError) -> str:
    """What a store said, in words that tell what to do; of a file that the disk does not give, what that is."""
    advice = _ADVICE.get(error.errno or 0) if is_url(str(error.filename)) else None
    said = error.strerror or str(error)
    return f"{error.filename}: {f'{advice} ({said})' if advice else said}"


def send(path: Path, url: str, tick: Tick = lambda: None) -> SentFile:
    """Writes a file to a URL, unless just that is there already, and sees that it is there. Raises OSError.

    ``tick`` is called now and then; what it raises ends the upload, of which nothing is seen then.
    """
    upload = _Upload(path, url, tick)
    for pause in (*_WAITS, None):
        try:
            return upload.run()
        except OSError as error:
            if pause is None or error.errno not in _PASSING or error.filename != url:
                raise
            print(f"{explained(error)}; again in {pause:.0f} s", file=sys.stderr, flush=True)
            _sleep(pause, tick)
    raise AssertionError


def _sleep(seconds: float, tick: Tick) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        tick()
        time.sleep(min(left, 1.0))


def hash_of(url: str, tick: Tick = lambda: None) -> str:
    """The xxh3 (128 bits) of an object, all of which is read. Raises OSError."""
    found = xxhash.xxh3_128()
    for chunk in read_chunks(url):
        found.update(chunk)
        tick()
    return found.hexdigest()


def remove(urls: Sequence[str]) -> None:
    """Removes objects; one that is not there is none to remove. Raises OSError."""
    import obstore

    for url in urls:
        try:
            with asking(url):
                store, name = located(url)
                obstore.delete(store, name)
        except FileNotFoundError:
            continue


def try_writing(url: str) -> None:
    """Writes a small object of this name, sees it, and removes it if that is allowed. Raises OSError where it cannot.

    A store that does not answer is not waited for long.
    """
    import obstore

    with asking(url):
        store, name = located(url, _TRYING)
        obstore.put(store, name, b"`launcher plan` sees here whether it may write\n")
        obstore.head(store, name)
    try:
        remove([url])
    except OSError:  # some may write, and not remove
        return


class _Upload:
    """One file on its way to its URL."""

    def __init__(self, path: Path, url: str, tick: Tick) -> None:
        self._path, self._url, self._tick = path, url, tick
        self._size = path.stat().st_size
        self._part = max(_LEAST_PART, self._size // _MOST_PARTS + 1)
        self._is_over = False

    def run(self) -> SentFile:
        if self._is_of_that_size():
            for _ in self._chunks():
                self._tick()
            if self._is_there():
                return self._sent
        self._put()
        if not self._is_there():
            # What has become of this upload goes; what somebody else has put there since stays.
            with suppress(FileNotFoundError):
                if describe(self._url).tag == self._made:
                    remove([self._url])
            raise OSError(errno.EIO, "the store has other bytes than it was sent", self._url)
        return self._sent

    @property
    def _sent(self) -> SentFile:
        return SentFile(self._url, self._size, self._hash.hexdigest())

    def _chunks(self) -> Iterator[bytes]:
        """The file, a part at a time; what it holds is known at the end."""
        self._hash, self._md5s = xxhash.xxh3_128(), list[bytes]()
        with self._path.open("rb") as file:
            while chunk := file.read(self._part):
                self._hash.update(chunk)
                self._md5s.append(md5(chunk, usedforsecurity=False).digest())
                yield chunk

    def _watched(self) -> Iterator[bytes]:
        """The same for obstore, which ends the upload where this raises."""
        for chunk in self._chunks():
            if self._is_over:
                raise OSError(errno.ECANCELED, "is ended", self._url)
            yield chunk

    def _put(self) -> None:
        """In a thread: obstore looks for no signals, and is silent for as long as the store is."""
        self._is_over = False
        sent = begun(self._write)
        try:
            while not wait([sent], _TICK).done:
                self._tick()
        finally:
            self._is_over = True
            wait([sent], _LEAVING)
        sent.result()

    def _write(self) -> None:
        import obstore

        is_one = self._size <= self._part
        data: Any = b"".join(self._watched()) if is_one else self._watched()
        at_a_time = min(max(_MOST_MEMORY // self._part, 2), _MOST_AT_A_TIME)
        with asking(self._url):
            store, name = located(self._url, _WRITING)
            made = obstore.put(
                store, name, data, use_multipart=not is_one, chunk_size=self._part, max_concurrency=at_a_time
            )
        self._made = (made["e_tag"] or "").strip('"')

    @property
    def _tag(self) -> str:
        """The ETag that S3, and what is like it, gives to such an object, unless it is encrypted with keys of its own."""
        if self._size <= self._part:
            return (self._md5s or [md5(usedforsecurity=False).digest()])[0].hex()
        return f"{md5(b''.join(self._md5s), usedforsecurity=False).hexdigest()}-{len(self._md5s)}"

    def _is_of_that_size(self) -> bool:
        try:
            return describe(self._url).size == self._size
        except (FileNotFoundError, PermissionError):  # so is what is not there called to who may not list
            return False

    def _is_there(self) -> bool:
        """Whether the object has these bytes: by its ETag where that tells, else it is read."""
        found = describe(self._url)
        if found.size != self._size:
            return False
        return found.tag == self._tag or hash_of(self._url, self._tick) == self._hash.hexdigest()
