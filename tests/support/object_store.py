"""A store of objects on this machine: a folder behind HTTP, and behind as much of S3's interface as is used here.

It is a thread of the test, and counts what it is asked.
"""

import itertools
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from jobs.references.stores import _store

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
            tag = (self.server.tags | self.server.others).get(path, "1")
            if self.headers.get("If-Match", f'"{tag}"') == f'"{tag}"':
                self._send_file(path.read_bytes(), tag)
            else:
                self._send(412, b"")

    do_HEAD = do_GET  # noqa: N815 - as the library calls it

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        path = self.server.folder / unquote(parts.path).lstrip("/")
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refuses_writing():
            return
        if not self.server.writes_left:
            self.server.is_stuck.set()
            self.server.is_closed.wait()  # whoever sends it is killed, or gives up
            return
        self.server.writes_left -= 1
        time.sleep(self.server.delay)
        query = parse_qs(parts.query)
        if number := query.get("partNumber"):
            self.server.uploads[query["uploadId"][0]][int(number[0])] = data
            self._send(200, b"", tag=md5(data).hexdigest())
        else:
            self._write(path, data, md5(data).hexdigest())
            self._send(200, b"", tag=self.server.tags[path])

    def do_POST(self) -> None:
        """The beginning and the end of an object that comes in parts, and the removal of some."""
        parts, length = urlsplit(self.path), int(self.headers.get("Content-Length", 0))
        query, body = parse_qs(parts.query, keep_blank_values=True), self.rfile.read(length).decode()
        path = self.server.folder / unquote(parts.path).lstrip("/")
        if self._refuses_writing():
            return
        if "delete" in query:
            names = re.findall("<Key>(.*?)</Key>", body)
            for name in names:
                (path / unescape(name)).unlink(missing_ok=True)
            told = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in names)
            self._send(200, f"<DeleteResult>{told}</DeleteResult>".encode())
        elif "uploads" in query:
            upload = str(next(self.server.numbers))
            self.server.uploads[upload] = {}
            self._send(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
        else:
            sent = [data for _, data in sorted(self.server.uploads.pop(query["uploadId"][0]).items())]
            self.server.parts = list(map(len, sent))
            tag = md5(b"".join(md5(data).digest() for data in sent)).hexdigest()
            self._write(path, b"".join(sent), f"{tag}-{len(sent)}")
            self._send(200, f"<R><ETag>{self.server.tags[path]}</ETag></R>".encode())

    def do_DELETE(self) -> None:
        """Of an upload in parts that is given up."""
        self.server.uploads.pop(parse_qs(urlsplit(self.path).query)["uploadId"][0], None)
        self._send(204, b"")

    def _refuses_writing(self) -> bool:
        bucket = urlsplit(self.path).path.split("/")[1]
        if self.server.busy_writes > 0:
            self.server.busy_writes -= 1
            self._send(503, b"<Error><Code>SlowDown</Code></Error>")
        elif self.server.is_read_only:
            self._send(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif not (self.server.folder / bucket).is_dir():
            self._send(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        else:
            return False
        return True

    def _write(self, path: Path, data: bytes, tag: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.server.bend(data))
        self.server.tags[path] = tag if self.server.has_md5 else f"opaque-{len(data)}"
        self.server.written.append(path.name)

    def _send_file(self, data: bytes, tag: str) -> None:
        bounds = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not bounds:
            self._send(200, data, tag=tag)
            return
        start, last = int(bounds[1]), min(int(bounds[2]), len(data) - 1)
        self._send(206, data[start : last + 1], f"bytes {start}-{last}/{len(data)}", tag)

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

    def _send(self, status: int, body: bytes, content_range: str = "", tag: str = "1") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.send_header("ETag", f'"{tag}"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


class ObjectStore(ThreadingHTTPServer):
    """Buckets are the folders in ``folder``; the next ``busy`` requests to read, or ``busy_writes``, are refused for now.

    After ``writes_left`` objects, or parts of them, none is answered: ``is_stuck`` is set then; ``delay``: seconds before each
    is taken. ``parts`` are the sizes of those that the last such object had, ``uploads`` those that lack some. ``bend``: what
    becomes of the bytes of an object. ``has_md5``: whether its ETag tells them; ``others``: ETags of what was put there since.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked: Counter[str] = Counter()
        self.written: list[str] = []
        self.parts: list[int] = []
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.numbers = itertools.count(1)
        self.tags: dict[Path, str] = {}
        self.others: dict[Path, str] = {}
        self.writes_left = 1 << 30
        self.delay = 0.0
        self.is_stuck, self.is_closed = threading.Event(), threading.Event()
        self.bend: Callable[[bytes], bytes] = bytes
        self.has_md5 = True
        self.busy = self.busy_writes = 0
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
    """The store at work, with a bucket, and this process a client of it that knows of no other."""
    (folder / "bucket").mkdir(parents=True, exist_ok=True)
    _store.cache_clear()
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
            store.is_closed.set()
            store.shutdown()
            thread.join()
