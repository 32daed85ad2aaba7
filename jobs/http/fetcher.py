"""Fetcher: HTTP requests of one process: as many at a time as a host may get, tried again while that can help.

The pause before a new try is drawn from 0 to a limit that doubles, so that those who failed together do not come back
together ("full jitter": Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015). Ranges and their
conditions are those of RFC 9110, sections 13.1.5 and 14.
"""

import asyncio
import random
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import httpx2

from jobs.errors import InputError
from jobs.http.part_file import PartialDownload
from jobs.http.urls import BadUrl, check_url, parsed_url, shown

# Request Timeout, Too Early, Too Many Requests, and what servers and proxies answer while they are in trouble.
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = 10
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
# Seconds for which one answer's Retry-After holds up what else is asked of its host; its own url waits for all of them.
# Whole hosts that are too busy say so to each request anew, and single urls may ask for hours.
_HOST_PAUSE = 5.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class FetchLimits:
    """What a download may take: see Download's parameters of these names."""

    per_host: int
    retries: int
    stall_timeout: float
    time_limit: float
    max_bytes: int


class DownloadError(Exception):
    """A download that failed for good; its text says why."""


class _TryAgain(Exception):
    """This attempt failed, another may not; ``after`` is how many seconds the host asks to be left alone."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


@dataclass
class _Host:
    """Requests to one host: how many more at a time, and from when on (of time.monotonic)."""

    free: asyncio.Semaphore
    opens: float = field(default=0.0)

    @asynccontextmanager
    async def turn(self, deadline: asyncio.Timeout) -> AsyncIterator[None]:
        """One of its requests; what waits for its turn has all of its time left when that comes."""
        now = asyncio.get_running_loop().time
        left = (deadline.when() or 0.0) - now()
        deadline.reschedule(None)
        async with self.free:
            while (wait := self.opens - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            deadline.reschedule(now() + left)
            yield


class Fetcher:
    """Fills Parts; to be used in one event loop."""

    def __init__(self, limits: FetchLimits, headers: Mapping[str, str]) -> None:
        self._limits = limits
        self._hosts: dict[str, _Host] = defaultdict(lambda: _Host(asyncio.Semaphore(limits.per_host)))
        # Not the global generator: pool workers that are seeded alike would come back together.
        self._random = random.Random()
        # A file is stored as the server has it, and ranges of it are asked for: so nothing compressed on the way.
        headers = {"Accept-Encoding": "identity", **headers}
        pool = httpx2.Limits(max_connections=None, max_keepalive_connections=4 * limits.per_host)
        timeout = httpx2.Timeout(limits.stall_timeout, pool=None)
        try:
            self._client = httpx2.AsyncClient(headers=headers, limits=pool, timeout=timeout)
        except ImportError:
            raise InputError(
                "the environment names a SOCKS proxy (all_proxy, http_proxy or https_proxy), which needs the package "
                "socksio: pip install socksio"
            ) from None  # whose advice is about a package of another name
        except (ValueError, httpx2.InvalidURL) as error:
            raise InputError(
                "a proxy of the environment (all_proxy, http_proxy, https_proxy) is not valid; valid: http://host:port, "
                "https://host:port, or socks5://host:port"
            ) from error

    async def fetch(self, part: PartialDownload) -> int:
        """Fills ``part``; returns the HTTP status, 200 or 206 (Partial Content). Raises DownloadError."""
        try:
            return await self._in_time(part)
        except (DownloadError, BadUrl) as problem:
            raise DownloadError(f"{shown(part.url)}: {problem}") from problem

    async def _in_time(self, part: PartialDownload) -> int:
        limit = self._limits.time_limit
        problems: list[str] = []
        try:
            async with asyncio.timeout(limit) as deadline:
                return await self._fetch(part, problems, deadline)
        except TimeoutError:
            last = f"; last: {problems[-1]}" if problems else ""
            raise DownloadError(
                f"not done within time_limit ({limit:g} s), {part.size} bytes have come{last}"
            ) from None

    async def _fetch(self, part: PartialDownload, problems: list[str], deadline: asyncio.Timeout) -> int:
        in_a_row, furthest = 0, part.size
        while True:
            try:
                status = await self._attempt(part, deadline)
                _check(part, status)
                return status
            except (_TryAgain, httpx2.TransportError) as problem:
                problems.append(_describe(problem, self._limits.stall_timeout))
                # A transfer that got further than ever is on its way, however often it is cut off.
                in_a_row = 1 if part.size > furthest else in_a_row + 1
                furthest = max(furthest, part.size)
                if in_a_row > self._limits.retries:
                    raise DownloadError(f"{problems[-1]}; tried {len(problems)} times") from problem
                await self._pause(in_a_row, problem, deadline)

    async def _pause(self, in_a_row: int, problem: Exception, deadline: asyncio.Timeout) -> None:
        after = getattr(problem, "after", 0.0)
        left = (deadline.when() or 0.0) - asyncio.get_running_loop().time()
        if after > left:
            raise DownloadError(
                f"{problem}: the host asks for {after:g} s, time_limit leaves {left:.0f} s"
            ) from problem
        longest = min(_FIRST_PAUSE * 2 ** (in_a_row - 1), _LONGEST_PAUSE)
        await asyncio.sleep(after + self._random.uniform(0, longest))

    async def _attempt(self, part: PartialDownload, deadline: asyncio.Timeout) -> int:
        """One request, and those that it is redirected to; returns the last one's status."""
        if not part.validator:
            part.restart()  # nothing can be added to it
        ranges = {"Range": f"bytes={part.size}-", "If-Range": part.validator} if part.size else {}
        request: httpx2.Request | None = self._client.build_request("GET", parsed_url(part.url), headers=ranges)
        for _ in range(_REDIRECTS):
            assert request is not None
            check_url(request.url)
            host = self._hosts[request.url.host]
            async with host.turn(deadline):
                response = await self._client.send(request, stream=True)
                try:
                    request = response.next_request
                    if request is None:
                        await self._receive(response, part, host)
                        return response.status_code
                finally:
                    await response.aclose()
        raise DownloadError(f"redirected more than {_REDIRECTS} times")

    async def _receive(self, response: httpx2.Response, part: PartialDownload, host: _Host) -> None:
        total = self._begin(response, part, host)
        if total is not None:
            self._check_size(total, part)
        async for data in response.aiter_raw():
            self._check_size(part.size + len(data), part)
            part.write(data)
        if total is not None and part.size != total:
            raise _TryAgain(f"{part.size} of {total} bytes came")

    def _begin(self, response: httpx2.Response, part: PartialDownload, host: _Host) -> int | None:
        """Makes ``part`` what the body is to be added to; returns the size of the whole, where it is known."""
        status = response.status_code
        if status in (200, 203):
            length = response.headers.get("Content-Length", "")
            part.restart(_validator(response), int(length) if length.isdigit() else None)
            return part.total
        if status == 206 and _continues(response, part):
            found = _CONTENT_RANGE.fullmatch(response.headers["Content-Range"])
            return part.total if not found or found[2] == "*" else int(found[2])
        if status in (206, 416):
            part.restart()
            raise _TryAgain(f"HTTP {status}: not the rest of what has come, or of another version of it")
        raise _problem(response, host)

    def _check_size(self, size: int, part: PartialDownload) -> None:
        if size > self._limits.max_bytes:
            part.restart()
            raise DownloadError(f"larger than max_bytes ({self._limits.max_bytes}): {size} bytes or more")


def _check(part: PartialDownload, status: int) -> None:
    """Raises for a whole file that is not the one; what was put together from pieces gets another chance."""
    problem = part.mismatch()
    if problem:
        part.restart()
        raise _TryAgain(problem) if status == 206 else DownloadError(problem)


def _problem(response: httpx2.Response, host: _Host) -> Exception:
    """What to raise for a status that brings no file."""
    text = f"HTTP {response.status_code} {response.reason_phrase}".strip()
    if response.status_code not in _TRANSIENT:
        return DownloadError(text)
    after = _retry_after(response.headers.get("Retry-After", ""))
    host.opens = max(host.opens, time.monotonic() + min(after, _HOST_PAUSE))
    return _TryAgain(text, after)


def _continues(response: httpx2.Response, part: PartialDownload) -> bool:
    """Whether the body is what follows in the same version of the file (RFC 9110, 15.3.7.3).

    Servers answer with ranges of other versions, too, whatever If-Range says. Each sends its ETag again; a date need not come.
    """
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != part.size:
        return False
    if part.total is not None and found[2] not in ("*", str(part.total)):
        return False
    if part.validator.startswith('"'):
        return bool(response.headers.get("ETag", "") == part.validator)
    return bool(response.headers.get("Last-Modified", part.validator) == part.validator)


def _retry_after(text: str) -> float:
    """Seconds that the header asks to wait: a number or a date; 0 where it says nothing."""
    if re.fullmatch("[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _validator(response: httpx2.Response) -> str:
    """What names this version of the file, byte for byte: an ETag that is not weak, or a date well before the answer's."""
    etag: str = response.headers.get("ETag", "")
    if etag:
        return "" if etag.startswith("W/") else etag
    modified, date = response.headers.get("Last-Modified", ""), response.headers.get("Date", "")
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (ValueError, TypeError, OverflowError):
        return ""
    # Of a file that was changed in the same minute, there may be two versions with one date (RFC 9110, 8.8.2.2).
    return modified if age.total_seconds() >= 60 else ""


def _describe(problem: Exception, stall_timeout: float) -> str:
    if isinstance(problem, httpx2.TimeoutException):
        what = "no connection" if isinstance(problem, httpx2.ConnectTimeout) else "nothing came"
        return f"{what} within stall_timeout ({stall_timeout:g} s)"
    return str(problem) or type(problem).__name__
