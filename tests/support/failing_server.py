"""An HTTP server of files that fails in every way a download can meet, each told by the url: for tests of Download.

``/BEHAVIOUR/NUMBER?size=BYTES&times=N``: the first N requests (default 1) of that url meet the behaviour, those after them
the file, whose bytes follow from the path. Behaviours that last for ever say so. It runs in a process of its own (`serving`)
and tells what it was asked under ``/requests``.
"""

import asyncio
import contextlib
import email.utils
import hashlib
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.launcher_runs import ROOT

SIZE = 300
_STATUS = {
    "missing": "404 Not Found",
    "gone": "410 Gone",
    "forbidden": "403 Forbidden",
    "broken": "500 Internal Server Error",
}
_DATES = "Last-Modified: Mon, {} Jan 2024 00:00:00 GMT\r\nDate: Wed, 10 Jan 2024 00:00:00 GMT"
_RETRY_AFTER = {"busy": "503 Service Unavailable", "rate": "429 Too Many Requests"}


def body(target: str) -> bytes:
    """The file that a url's path and query stand for."""
    parts = urlsplit(target)
    size = int(dict(parse_qsl(parts.query)).get("size", SIZE))
    return random.Random(parts.path).randbytes(size)


def sha256(target: str) -> str:
    return hashlib.sha256(body(target)).hexdigest()


@dataclass
class Request:
    """A request, and how many of the same target came before it."""

    target: str
    headers: dict[str, str]
    before: int

    @property
    def behaviour(self) -> str:
        return urlsplit(self.target).path.split("/")[1]

    def option(self, name: str, default: float) -> float:
        return float(dict(parse_qsl(urlsplit(self.target).query)).get(name, default))


class FailingServer:
    """Answers, and counts the requests of each target, their ranges, and how many were under way at once."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ranges: dict[str, list[str]] = {}
        self.times: dict[str, list[float]] = {}
        self.now = self.most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive over requests."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(self._request(head.decode()), writer)
        writer.close()

    def _request(self, head: str) -> Request:
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        target = first.split()[1]
        request = Request(target, headers, self.counts[target])
        self.counts[target] += 1
        self.times.setdefault(target, []).append(time.monotonic())
        if "range" in headers:
            self.ranges.setdefault(target, []).append(headers["range"])
        return request

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.target == "/requests":
            told = {"counts": self.counts, "ranges": self.ranges, "times": self.times, "most": self.most}
            self._send(writer, "200 OK", json.dumps(told).encode())
            return
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self._behave(request, writer)
            await writer.drain()
        finally:
            self.now -= 1

    async def _behave(self, request: Request, writer: asyncio.StreamWriter) -> None:
        fails = request.before < request.option("times", 1)
        match request.behaviour:
            case "missing" | "gone" | "forbidden" | "broken" as name:  # for ever
                self._send(writer, _STATUS[name], b"no")
            case "private" if request.headers.get("authorization") != "Bearer secret":
                self._send(writer, _STATUS["forbidden"], b"no")
            case "busy" | "rate" as name if fails:
                self._send(writer, _RETRY_AFTER[name], b"", f"Retry-After: {request.option('after', 0):g}")
            case "date" if fails:
                after = email.utils.formatdate(time.time() + request.option("after", 0), usegmt=True)
                self._send(writer, _RETRY_AFTER["busy"], b"", f"Retry-After: {after}")
            case "flaky" if fails:
                self._send(writer, _STATUS["broken"], b"oops")
            case "redirect":
                self._send(writer, "302 Found", b"", f"Location: {request.target.replace('/redirect/', '/ok/')}")
            case "elsewhere":
                to = dict(parse_qsl(urlsplit(request.target).query))["to"]
                self._send(writer, "302 Found", b"", f"Location: {to}")
            case "loop":
                self._send(writer, "302 Found", b"", f"Location: {request.target}")
            case "drop" if fails:
                writer.close()
            case "stall" if fails:
                await self._part(request, writer, 0.5)
                await asyncio.sleep(3600)
            case "other":  # for ever, with another version of the file for whoever asks for the rest of the first
                await self._other_version(request, writer)
            case "truncate" | "norange" | "changing" if fails:
                await self._part(request, writer, request.option("share", 0.5))
                writer.close()
            case "endless":  # for ever
                await self._endless(writer)
            case "slow":
                await self._slowly(request, writer)
            case _:
                await asyncio.sleep(request.option("delay", 0))
                await self._part(request, writer, 1.0)

    async def _part(self, request: Request, writer: asyncio.StreamWriter, share: float) -> None:
        """A share of what was asked for, announced as a whole."""
        head, data = self._file(request)
        writer.write(head + data[: int(len(data) * share)])
        await writer.drain()

    async def _other_version(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """What names the first version, and the second, is said by the url: etag, total, date."""
        data, wanted = body(request.target), request.headers.get("range")
        if not wanted:
            head = 'ETag: "1"' if "date" not in request.target else _DATES.format("01")
            writer.write(_head("200 OK", len(data), head) + data[: len(data) // 2])
            writer.close()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        total, head = len(data), 'ETag: "1"'
        if "etag" in request.target:
            head = 'ETag: "2"'
        elif "date" in request.target:
            head = _DATES.format("02")
        elif "total" in request.target:
            total += 1
        elif "start" in request.target:
            start += 1
        rest = bytes(total - start)
        self._send(writer, "206 Partial Content", rest, f"Content-Range: bytes {start}-{total - 1}/{total}\r\n{head}")

    def _file(self, request: Request) -> tuple[bytes, bytes]:
        """Head and body of the answer; with an ETag and ranges, but for ``norange`` and versions of ``changing``."""
        data, version = body(request.target), "1"
        if request.behaviour == "changing":
            version = str(request.before)
            data = bytes(byte ^ (request.before & 255) for byte in data)
        etag = f'"{version}"'
        wanted = request.headers.get("range")
        if wanted and request.behaviour != "norange" and request.headers.get("if-range") == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            lines = f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\nETag: {etag}"
            return _head("206 Partial Content", len(data) - start, lines), data[start:]
        return _head("200 OK", len(data), f"ETag: {etag}"), data

    async def _slowly(self, request: Request, writer: asyncio.StreamWriter) -> None:
        head, data = self._file(request)
        writer.write(head)
        for start in range(0, len(data), 1 << 20):
            writer.write(data[start : start + (1 << 20)])
            await writer.drain()
            await asyncio.sleep(request.option("pause", 0.05))

    async def _endless(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nTransfer-Encoding: chunked\r\n\r\n')
        while not writer.is_closing():
            writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
            await writer.drain()

    def _send(self, writer: asyncio.StreamWriter, status: str, data: bytes, lines: str = "Server: test") -> None:
        writer.write(_head(status, len(data), lines) + data)


def _head(status: str, length: int, lines: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{lines}\r\n\r\n".encode()


class Served:
    """The server, from outside."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def requests(self) -> dict[str, Any]:
        """``counts``, ``ranges`` and ``times`` by target, and ``most``: requests at the same time."""
        with urllib.request.urlopen(f"{self.base}/requests") as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextlib.contextmanager
def serving() -> Iterator[Served]:
    """The server in a process of its own, on a free port of 127.0.0.1."""
    command = [sys.executable, "-m", "tests.support.failing_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Served(int(process.stdout.readline()))
        finally:
            process.kill()


async def _main() -> None:
    server = await asyncio.start_server(FailingServer().serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
