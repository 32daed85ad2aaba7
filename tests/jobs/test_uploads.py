"""Uploads: an object is there as the file was, or it is not there; what cannot be is told in words that help."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.references import uploads
from jobs.references.stores import _store
from jobs.references.uploads import explained, hash_of, remove, send, try_writing
from tests.support.object_store import ObjectStore, serving

pytest.importorskip("obstore")

URL = "s3://bucket/a/x.bin"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with serving(tmp_path) as found:
        yield found


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_LEAST_PART", 5 << 20)


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_WAITS", (0.0, 0.0))


def made(tmp_path: Path, size: int) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20) * (size >> 20) + os.urandom(size % (1 << 20)))
    return path


@pytest.mark.parametrize("size", [0, 1000, 12_000_000])
@pytest.mark.parametrize("has_md5", [True, False])
def test_a_file_is_sent_once_and_read_back_only_where_its_etag_does_not_tell(
    tmp_path: Path, store: ObjectStore, small_parts: None, size: int, has_md5: bool
) -> None:
    store.has_md5 = has_md5
    path = made(tmp_path, size)
    sent = send(path, URL)
    assert (store.folder / "bucket/a/x.bin").read_bytes() == path.read_bytes()
    assert (sent.url, sent.size, sent.hash) == (URL, size, hash_of(URL))
    assert len(store.parts) == (3 if size > 5 << 20 else 0)
    asked = store.asked["GET"]
    assert send(path, URL) == sent
    assert store.written == ["x.bin"], "it was there already"
    assert (store.asked["GET"] == asked) == (has_md5 or not size)


def test_what_another_file_of_that_size_has_left_is_replaced(tmp_path: Path, store: ObjectStore) -> None:
    first, second = made(tmp_path, 1000).rename(tmp_path / "first"), made(tmp_path, 1000)
    assert send(first, URL).hash != send(second, URL).hash
    assert (store.folder / "bucket/a/x.bin").read_bytes() == second.read_bytes()


@pytest.mark.parametrize("has_md5", [True, False])
def test_an_object_with_other_bytes_than_were_sent_is_noticed_and_does_not_stay(
    tmp_path: Path, store: ObjectStore, no_waits: None, has_md5: bool
) -> None:
    store.has_md5 = has_md5
    store.bend = lambda data: data[:-1] + b"?"
    if has_md5:  # a store that tells the ETag of what it was sent; it is at fault alone
        store.bend = lambda data: data[:-1]
    with pytest.raises(OSError, match="the store has other bytes than it was sent"):
        send(made(tmp_path, 1000), URL)
    assert len(store.written) == 3
    assert not (store.folder / "bucket/a/x.bin").exists()


def test_what_somebody_else_has_put_there_meanwhile_stays(tmp_path: Path, store: ObjectStore, no_waits: None) -> None:
    there = store.folder / "bucket/a/x.bin"

    def others(data: bytes) -> bytes:
        store.others[there] = "another"
        return b"another's"

    store.bend = others
    with pytest.raises(OSError, match="the store has other bytes than it was sent"):
        send(made(tmp_path, 1000), URL)
    assert there.read_bytes() == b"another's"


class Enough(Exception):
    pass


def test_an_upload_that_is_ended_leaves_nothing(
    tmp_path: Path, store: ObjectStore, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_TICK", 0.01)
    store.delay = 0.3  # each of three rounds of parts: long enough to be ended in

    def tick() -> None:
        if store.uploads and any(store.uploads.values()):
            raise Enough

    with pytest.raises(Enough):
        send(made(tmp_path, 60_000_000), URL, tick)
    assert store.written == []
    assert store.uploads == {}


def test_a_client_that_panics_is_not_waited_for(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which in Rust is no Exception."""

    def put(*_: object, **__: object) -> None:
        raise GeneratorExit("panicked")

    monkeypatch.setattr("obstore.put", put)
    with pytest.raises(GeneratorExit, match="panicked"):
        send(made(tmp_path, 10), URL)


def test_what_a_store_refuses_for_a_while_is_tried_again(
    tmp_path: Path,
    store: ObjectStore,
    no_waits: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(uploads, "_WRITING", 0)
    store.busy_writes = 2
    send(made(tmp_path, 1000), URL)
    assert store.written == ["x.bin"]
    assert "BUSY: the store asks to come again later" in capfd.readouterr().err


def test_why_nothing_can_be_written_is_told_with_what_to_do(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_writing("s3://bucket/a/x.try")
    assert store.written == ["x.try"]
    assert not (store.folder / "bucket/a/x.try").exists()
    assert refusal("s3://none/a/x.try") == (errno.ENOENT, "s3://none/a/x.try: NO_BUCKET")
    store.is_read_only = True
    assert refusal(URL) == (errno.EACCES, f"{URL}: PERMISSION")
    store.is_read_only, store.busy_writes = False, 1
    monkeypatch.setattr(uploads, "_TRYING", 0)
    assert refusal(URL) == (errno.EAGAIN, f"{URL}: BUSY")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    _store.cache_clear()
    assert refusal(URL) == (errno.ETIMEDOUT, f"{URL}: UNREACHABLE")
    assert store.variables["AWS_SECRET_ACCESS_KEY"] not in str(told(URL))


def told(url: str) -> str:
    with pytest.raises(OSError, match=url) as caught:
        try_writing(url)
    return explained(caught.value)


def refusal(url: str) -> tuple[int | None, str]:
    with pytest.raises(OSError, match=url) as caught:
        try_writing(url)
    url, kind, *_ = explained(caught.value).split(": ")
    return caught.value.errno, f"{url}: {kind}"


def test_objects_are_removed_and_those_that_are_gone_are_no_error(tmp_path: Path, store: ObjectStore) -> None:
    send(made(tmp_path, 1000), URL)
    remove([URL, "s3://bucket/a/none"])
    assert not (store.folder / "bucket/a/x.bin").exists()
