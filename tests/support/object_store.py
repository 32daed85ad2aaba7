"""A store of objects on this machine: a folder behind HTTP, and behind as much of S3's interface as is used here.

It is a thread of the test, and counts what it is asked.
"""

import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PAGE = 3


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "ObjectStore"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = self.server.folder / unquote(parts.path).lstrip("/")
        self.server.asked[self.command] += 1
        if self.server.busy > 0:
            self.server.busy -= 1
            self._send(503, b"busy")
        elif "list-type" in (query := parse_qs(parts.query)):
            self._send(200, self._list(path, query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]))
        elif not path.is_file():
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._send_file(path.read_bytes())

    do_HEAD = do_GET  # noqa: N815 - as the library calls it

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        path = self.server.folder / unquote(parts.path).lstrip("/")
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.is_read_only:
            self._send(403, b"")
            return
        if number := parse_qs(parts.query).get("partNumber"):
            self.server.parts[int(number[0])] = data
        else:
            self._write(path, data)
        self._send(200, b"")

    def do_POST(self) -> None:
        """The beginning and the end of an object that comes in parts; one at a time."""
        parts = urlsplit(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "uploadId" not in parse_qs(parts.query):
            self.server.parts.clear()
            self._send(200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
            return
        path = self.server.folder / unquote(parts.path).lstrip("/")
        self._write(path, b"".join(data for _, data in sorted(self.server.parts.items())))
        self._send(200, b"<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>")

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.server.written.append(path.name)

    def _send_file(self, data: bytes) -> None:
        bounds = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not bounds:
            self._send(200, data)
            return
        start, last = int(bounds[1]), min(int(bounds[2]), len(data) - 1)
        self._send(206, data[start : last + 1], f"bytes {start}-{last}/{len(data)}")

    def _list(self, bucket: Path, prefix: str, after: str) -> bytes:
        """A page of the names behind one of them."""
        names = sorted(str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file())
        names = [name for name in names if name.startswith(prefix) and name > after]
        more = len(names) > _PAGE
        names = names[:_PAGE]
        items = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f"<Size>{(bucket / name).stat().st_size}</Size></Contents>"
            for name in names
        )
        token = f"<NextContinuationToken>{escape(names[-1])}</NextContinuationToken>" if more else ""
        told = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}"
        return f"<ListBucketResult>{told}</ListBucketResult>".encode()

    def _send(self, status: int, body: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.send_header("ETag", '"1"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


class ObjectStore(ThreadingHTTPServer):
    """Buckets are the folders in ``folder``; the next ``busy`` requests are refused for now."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked: Counter[str] = Counter()
        self.written: list[str] = []
        self.parts: dict[int, bytes] = {}
        self.busy = 0
        self.is_read_only = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def variables(self) -> dict[str, str]:
        """By which clients of S3 come here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-somebody",
        }


@contextmanager
def serving(folder: Path) -> Iterator[ObjectStore]:
    """The store at work, and this process a client of it."""
    with ObjectStore(folder) as store:
        thread = threading.Thread(target=store.serve_forever, args=(0.01,))
        thread.start()
        before = {name: os.environ.get(name) for name in store.variables}
        os.environ.update(store.variables)
        try:
            yield store
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
            store.shutdown()
            thread.join()
