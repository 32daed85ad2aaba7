"""Download: a file per url, into a folder or into the memory of a Job that goes on with it.

A built-in Job, named in a config as ``jobs.download:Download``. Pool workers download, the samples of a batch at the same
time.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jobs.errors import InputError
from jobs.http.checksum import Checksum
from jobs.http.file_names import checked_name, name_of_url
from jobs.http.part_file import PartFile, PartialDownload
from jobs.inputs import bad_parameter, need_number, need_packages, need_whole, text_of
from jobs.job import Context, Job
from jobs.storage.samples import Sample

# Seconds between looks at a file that another process is at.
_LOOKS = 0.2


class Download(Job):
    """Outputs per url: ``path`` text; ``bytes`` int64; ``sha256`` text; ``http_status`` int32, 0: it was there already.

    - ``folder``: where the files go; relative ones start at the config's folder. A file that is there is kept; with a
      checksum, only if it matches. What has come of a large file before an interruption is not asked for again, where
      the server can resume. Without a folder, see below.
    - ``url``: column of the manifest; ``checksum``: column such as ``sha256:4355...`` (md5, sha1, sha512), empty: none.
    - ``name``: column of the files' paths below ``folder``. It must be ``data.id`` of the config too, so that no two are
      the same. Default: a hash of the url and its last part, ``3f/3f0c...-photo.jpg``; the same url is the same file.
    - ``headers``: of every request; values may use environment variables, ``Bearer $TOKEN``, which no plan records.
    - ``concurrency``: requests at the same time of each pool worker; ``per_host``: of these to one host.
    - ``retries``: of time-outs, broken connections and HTTP 408, 425, 429, 500, 502, 503, 504; after a pause that grows,
      or that the server asked for (others of its host wait for 5 s of it at most). A transfer that got further starts the
      count anew. Any other answer fails at once.
    - ``stall_timeout``: seconds without a byte that end an attempt; ``time_limit``: seconds for a sample, from its first
      request on, retries included, its turns at the host not (less than ``node.sample_timeout``); ``max_bytes``: a larger
      file fails.

    Without ``folder``, an item has ``content`` (bytes) in place of ``path``, for a subclass with a ``process`` of its own::

        class ImageSizes(Download):
            async def load(self, sample):
                item = await super().load(sample)
                return np.array(Image.open(io.BytesIO(item["content"])).size)

            def process(self, batch):
                return {"size": batch}

    A batch is as slow as its slowest sample: make ``node.batch_size`` some times ``concurrency``. Raises InputError for
    parameters that cannot work; DownloadError or ValueError, for that sample, with the reason.
    """

    preload: ClassVar[tuple[str, ...]] = ("jobs.http.fetcher",)

    def __init__(
        self,
        folder: Path | None = None,
        url: str = "url",
        name: str | None = None,
        checksum: str | None = None,
        headers: dict[str, str] | None = None,
        concurrency: int = 32,
        per_host: int = 8,
        retries: int = 5,
        stall_timeout: float = 30.0,
        time_limit: float = 300.0,
        max_bytes: int = 1 << 30,
    ) -> None:
        need_packages("Download", "download")
        if folder is None and type(self).process is Download.process:
            raise InputError(
                "job.params: folder: is required: where the files go (a subclass that has a process of its own needs none)"
            )
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise bad_parameter("retries", retries, "a number from 0")
        self._folder = None if folder is None else Path(folder).expanduser()
        self._url, self._name, self._checksum = url, name, checksum
        self._headers = dict(headers or {})
        self._concurrency = need_whole("concurrency", concurrency, "a number of requests")
        self._limits: dict[str, Any] = {
            "per_host": need_whole("per_host", per_host, "a number of requests"),
            "retries": retries,
            "stall_timeout": need_number("stall_timeout", stall_timeout, "seconds over 0"),
            "time_limit": need_number("time_limit", time_limit, "seconds over 0"),
            "max_bytes": need_whole("max_bytes", max_bytes, "a number of bytes"),
        }

    def manifest_columns(self) -> tuple[str, ...]:
        """That of the urls, and those of names and checksums where there are."""
        return tuple(name for name in (self._url, self._name, self._checksum) if name)

    def setup_worker(self, context: Context) -> None:
        """Makes the HTTP client."""
        from jobs.http.fetcher import Fetcher, FetchLimits

        headers = {name: os.path.expandvars(value) for name, value in self._headers.items()}
        self._fetcher = Fetcher(FetchLimits(**self._limits), headers)
        self._turns = asyncio.Semaphore(self._concurrency)

    async def load(self, sample: Sample) -> dict[str, Any]:
        """Downloads a row's url: ``bytes``, ``sha256``, ``http_status``, and ``path`` or ``content``."""
        url, checksum = text_of(sample, self._url), None
        if self._checksum and not (self._checksum in sample and sample[self._checksum] in (None, "")):
            checksum = Checksum.of(text_of(sample, self._checksum))
        async with self._turns:
            if self._folder:
                return await self._into_file(url, self._folder / self._name_of(sample, url), checksum)
            part = PartialDownload(url, checksum)
            status = await self._fetcher.fetch(part)
            return {"content": part.content(), **_facts(part, status)}

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The facts about the files, as they were loaded."""
        return batch

    def _name_of(self, sample: Sample, url: str) -> str:
        if self._name is None:
            return name_of_url(url)
        name = text_of(sample, self._name)
        if name != sample.id:
            raise ValueError(
                f"column {self._name!r} names files, so no two may be the same: make it data.id of the config"
            )
        return checked_name(name)

    async def _into_file(self, url: str, path: Path, checksum: Checksum | None) -> dict[str, Any]:
        """Keeps the file that is there, or downloads it."""
        while True:
            if kept := await asyncio.to_thread(_existing, path, checksum):
                return {"path": str(path), **kept}
            if part := await asyncio.to_thread(PartFile.open, path, url, checksum):
                break
            await asyncio.sleep(_LOOKS)
        try:
            status = await self._fetcher.fetch(part)
            await asyncio.to_thread(part.finish)
        finally:
            part.close()
        return {"path": str(path), **_facts(part, status)}


def _facts(part: PartialDownload, status: int) -> dict[str, Any]:
    return {"bytes": np.int64(part.size), "sha256": part.digest(), "http_status": np.int32(status)}


def _existing(path: Path, checksum: Checksum | None) -> dict[str, Any] | None:
    """The facts about a file that is there, and that is as it should be."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        if checksum and not checksum.matches(file):
            return None
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": np.int64(size), "sha256": sha256, "http_status": np.int32(0)}
