"""Client: asks an OpenAI-compatible server, again where that may help, and tells a bad request from a server that is gone."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from jobs.errors import ProcessBroken
from jobs.generation.engine import Engine

_AGAIN = frozenset({408, 425, 429})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# Of what a server says.
_CHARACTERS = 300
# Seconds for an answer to whether it is there, and between two looks.
_LOOK = 10.0
# A server that has not answered anything for so many seconds, nor so many looks, hangs.
_SILENCE, _MISSES = 60.0, 3
# Seconds until one that has broken its connections is seen to have ended.
_END = 1.0
_Problems = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class RequestFailed(Exception):
    """What a server said of one request that it does not answer; the sample's own failure."""


class Client:
    """``base`` is the URL before /chat/completions, ``key`` the server's, or "".

    ``socket``: of a server on a Unix socket. ``engine`` is ours, if it is.

    ``retries``: how often a request is repeated; ``timeout``: seconds of each, None without end.
    """

    def __init__(
        self,
        base: str,
        key: str,
        retries: int,
        timeout: float | None,
        socket: str | None = None,
        engine: Engine | None = None,
        proxy: str | None = None,
    ) -> None:
        self._base = base.strip().rstrip("/")
        self._key = key
        self._way = (
            f" (through the proxy {urlsplit(proxy).hostname}; no_proxy has servers that need none)" if proxy else ""
        )
        self._retries = retries
        self._engine = engine
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket, limit=0) if socket else aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=_LOOK),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            proxy=proxy,
        )
        self._asking: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._heard = 0.0
        self._gone: str | None = None

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def watch(self) -> None:
        """From now on looks whether the server still answers, also where all requests just wait."""
        self._heard = self._now()
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        misses = 0
        while misses < _MISSES or self._now() - self._heard < _SILENCE:
            if self._engine is None:
                await asyncio.sleep(_LOOK)
            elif await self._engine.has_ended(_LOOK):
                self._give_up(self._engine.how_it_ended)
                return
            if await self.answers():
                misses, self._heard = 0, self._now()
            else:
                misses += 1
        self._give_up(f"the server has not answered for {_SILENCE:g} s")

    def _give_up(self, why: str) -> None:
        """All who wait for an answer hear of it, and all who ask later."""
        self._gone = why
        for task in self._asking:
            task.cancel()

    async def answers(self) -> bool:
        """Whether the server is there and ready: by /health, else by its list of models."""
        root = self._base.removesuffix("/v1")
        for url in (f"{root}/health", f"{self._base}/models"):
            status = await self._status(url)
            if status != 404:
                return status is not None and status < 500
        return True  # it knows neither, but it answers

    async def _status(self, url: str) -> int | None:
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=_LOOK)) as response:
                status: int = response.status
                return status
        except _Problems:
            return None

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer, any JSON; raises RequestFailed for a request that has none, ProcessBroken where the server is gone."""
        task = asyncio.current_task()
        assert task
        if self._gone:
            raise ProcessBroken(self._gone)
        self._asking.add(task)
        try:
            return await self._ask(path, body)
        except asyncio.CancelledError:
            if self._gone:
                raise ProcessBroken(self._gone) from None
            raise
        finally:
            self._asking.discard(task)

    async def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        pause, problem = _FIRST_PAUSE, ""
        for attempt in range(self._retries + 1):
            wait = pause * random.uniform(0.5, 1.0)
            try:
                async with self._session.post(f"{self._base}{path}", json=body) as response:
                    self._heard = self._now()
                    if response.status == 200:
                        return await response.json(content_type=None)
                    problem = self._told(f"HTTP {response.status}{self._advice(response)}: {await response.text()}")
                    if response.status not in _AGAIN and response.status < 500:
                        raise RequestFailed(problem)
                    wait = max(wait, _asked_pause(response.headers.get("Retry-After")))
            except _Problems as error:
                problem = self._told(f"{type(error).__name__}: {error}")
            except ValueError as error:
                problem = self._told(f"an answer that is no JSON: {error}")
            if attempt < self._retries:
                await asyncio.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)
        await self._blame(problem)
        raise RequestFailed(f"{problem} ({self._retries} retries)")

    def _advice(self, response: aiohttp.ClientResponse) -> str:
        if response.method != "POST":  # what 301 and 302 make of one
            return f" (redirected to {response.url}: give that server as base_url)"
        return " (its key is $OPENAI_API_KEY of the task)" if response.status == 401 and not self._engine else ""

    def _told(self, text: str) -> str:
        """The beginning of it, without the key: some servers repeat what they are sent."""
        return (text.replace(self._key, "***") if self._key else text)[:_CHARACTERS] + self._way

    async def _blame(self, problem: str) -> None:
        """Raises ProcessBroken where it is the server that fails, and not the request."""
        if self._engine:
            self._engine.check()  # first: by now another one may answer at its port
        if not await self.answers():
            if self._engine and await self._engine.has_ended(_END):
                self._engine.check()
            raise ProcessBroken(f"the server does not answer: {problem}")

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
        await self._session.close()


def _asked_pause(text: str | None) -> float:
    """What Retry-After says, where it is in seconds, and somewhat more: not all come back at once."""
    return min(float(text), _LONGEST_PAUSE) * random.uniform(1.0, 1.2) if text and text.strip().isdigit() else 0.0
