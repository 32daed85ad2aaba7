"""Manifests and sample files in stores: read by a real client over real HTTP, from S3's interface and from plain servers."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import InputError
from jobs.references.byte_files import kept_open
from jobs.references.stores import check_url
from jobs.storage.samples import Samples
from launcher.commands.extend import _sources
from launcher.manifest.formats import open_source
from launcher.manifest.manifest import ManifestInfo, build_manifest
from launcher.manifest.sources import Source
from tests.launcher.manifest.source_tests import TableSourceTests
from tests.support.object_store import ObjectStore, serving
from tests.support.tars import write_tar

pytest.importorskip("obstore")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with serving(tmp_path) as found:
        kept_open.cache_clear()
        yield found


@pytest.fixture
def bucket(store: ObjectStore) -> Path:
    return store.folder / "bucket"


def plan(folder: Path, entry: str | Sequence[str], cost: str | None = None) -> tuple[ManifestInfo, Samples]:
    info = build_manifest(entry, folder / "manifest.arrow", None, cost, folder=folder)
    return info, Samples(folder / "manifest.arrow", info.digests)


def told(folder: Path, entry: str) -> str:
    with pytest.raises(InputError) as caught:
        plan(folder, entry)
    return str(caught.value)


class TestRemoteTable(TableSourceTests):
    @pytest.fixture
    def source(self, store: ObjectStore) -> Source:
        pq.write_table(self.table, store.folder / "bucket" / "table.parquet")
        return open_source("s3://bucket/table.parquet", store.folder, ())

    def take_away(self, folder: Path) -> None:
        (folder / "bucket" / "table.parquet").unlink()


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_a_table_is_read_from_a_store_as_from_a_file(tmp_path: Path, store: ObjectStore, scheme: str) -> None:
    path = store.folder / "bucket" / "a b" / "ü+1.csv.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"x,y\n1,a\n2,b\n"))
    url = "s3://bucket/a b/ü+1.csv.gz" if scheme == "s3" else f"{store.url}/bucket/a%20b/%C3%BC%2B1.csv.gz"
    info, samples = plan(tmp_path, url)
    assert [dict(sample) for sample in samples.rows(0, 2)] == [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]
    assert [(source.path, source.size) for source in info.sources] == [(url, path.stat().st_size)]


def test_what_is_wrong_in_a_table_is_told_with_its_url_and_line(tmp_path: Path, bucket: Path) -> None:
    (bucket / "a.jsonl").write_text('{"x": 1}\n{"x": \n')
    assert told(tmp_path, "s3://bucket/a.jsonl").startswith("s3://bucket/a.jsonl:2:")
    assert told(tmp_path, "s3://bucket/b.jsonl") == "s3://bucket/b.jsonl: cannot be read: there is no such object"
    assert "unknown kind of manifest in a store" in told(tmp_path, "s3://bucket/b.h5")


def test_a_store_that_is_busy_is_asked_again(tmp_path: Path, store: ObjectStore) -> None:
    (store.folder / "bucket" / "a.csv").write_text("x\n1\n")
    store.busy = 2
    assert plan(tmp_path, "s3://bucket/a.csv")[0].rows == 1


def test_objects_that_match_a_pattern_are_samples(tmp_path: Path, bucket: Path) -> None:
    for name in ("a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", "a/.hidden.jpg", "a/.b/4.jpg", "a/5.png", "6.jpg", "a.jpg"):
        (bucket / name).parent.mkdir(parents=True, exist_ok=True)
        (bucket / name).write_bytes(name.encode())
    for pattern, names in {
        "a/*.jpg": ["a/1.jpg"],
        "a/**/*.jpg": ["a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"],
        "a/*/[1-2].jpg": ["a/b/2.jpg"],
        "?.jpg": ["6.jpg", "a.jpg"],
        "a/**": ["a/1.jpg", "a/5.png", "a/b/2.jpg", "a/b/c/3.jpg"],
    }.items():
        info, samples = plan(tmp_path, f"s3://bucket/{pattern}", cost="size")
        found = [(sample.id, sample["path"], sample["size"]) for sample in samples.rows(0, info.rows)]
        assert found == [(f"s3://bucket/{name}", f"s3://bucket/{name}", len(name)) for name in names], pattern
    assert told(tmp_path, "s3://bucket/x*.jpg") == "s3://bucket/x*.jpg: no object matches this pattern"


def test_servers_of_http_have_no_patterns(tmp_path: Path, store: ObjectStore) -> None:
    assert "a server of HTTP tells no list of its files" in told(tmp_path, f"{store.url}/bucket/*.jpg")


@pytest.mark.parametrize("form", ["s3://bucket/t-{0..1}.tar", "s3://bucket/*.tar", "http"])
def test_tars_in_a_store_are_read_where_they_lie(tmp_path: Path, store: ObjectStore, form: str) -> None:
    for number in range(2):
        files = [(f"{key}.bin", f"{number}{key}".encode() * 300) for key in "abc"]
        write_tar(store.folder / "bucket" / f"t-{number}.tar", files)
    entry = f"{store.url}/bucket/t-{{0..1}}.tar" if form == "http" else form
    info, samples = plan(tmp_path, entry)
    assert info.rows == 6
    for row, sample in enumerate(samples.rows(0, 6)):
        number, key = row // 3, "abc"[row % 3]
        assert sample["bin"] == f"{number}{key}".encode() * 300
        assert sample.id.endswith(f"/bucket/t-{number}.tar/{key}")
    before = store.asked["GET"]
    next(samples.rows(4, 5))["bin"]
    assert store.asked["GET"] == before + 1


def test_a_tar_that_has_gone_or_changed_in_its_store_gives_no_other_bytes(tmp_path: Path, bucket: Path) -> None:
    write_tar(bucket / "a.tar", [("a.npy", b"1" * 600), ("b.npy", b"2" * 600)])
    _, samples = plan(tmp_path, "s3://bucket/a.tar")
    write_tar(bucket / "a.tar", [("b.npy", b"2" * 600), ("a.npy", b"1" * 600)])
    with pytest.raises(OSError, match="it has changed since the run was planned"):
        next(samples.rows(0, 1))["npy"]
    (bucket / "a.tar").unlink()
    with pytest.raises(OSError, match="there is no such object"):
        next(samples.rows(0, 1))["npy"]


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_text("x\n1\n")
    assert plan(tmp_path, f"file://{tmp_path}/a%20b.csv")[0].sources[0].path == str(tmp_path / "a b.csv")


def test_what_is_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    check_url("abfss://container@account.dfs.core.windows.net/a.csv")  # no user
    for url in ("https://me:secret@host/a.csv", "https://host/a.csv?X-Amz-Signature=secret", "s3://host:secret/a.csv"):
        message = told(tmp_path, url)
        assert message.partition(":")[2].startswith(
            "//host/a.csv: a password, or a signature, would be written into the plan"
        )
        assert "secret" not in message


def test_urls_of_new_samples_may_have_folders_of_hive(tmp_path: Path) -> None:
    url = "s3://bucket/dt=2026-01-01/part.parquet"
    assert _sources([url], tmp_path, named=False) == [url]
    assert _sources([f"train={url}"], tmp_path, named=True) == {"train": [url]}
    with pytest.raises(InputError, match="say whose samples these are"):
        _sources([url], tmp_path, named=True)


def test_nothing_of_the_environment_is_in_the_manifest(tmp_path: Path, store: ObjectStore) -> None:
    write_tar(store.folder / "bucket" / "a.tar", [("a.bin", b"1")])
    info, _ = plan(tmp_path, "s3://bucket/a.tar")
    text = f"{info} {pa.ipc.open_file(tmp_path / 'manifest.arrow').read_all().to_pylist()}"
    assert "somebody" not in text
    assert store.url not in text
