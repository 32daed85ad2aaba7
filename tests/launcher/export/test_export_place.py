"""Exports to a store: all files or, for whoever looks for the last one, none; nothing that is there is replaced."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.errors import InputError, RunError
from launcher.cli import main
from launcher.export.export_place import delivered
from tests.support.builders import build_run
from tests.support.object_store import ObjectStore, serving

pytest.importorskip("obstore")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with serving(tmp_path) as found:
        yield found


def test_an_export_in_a_store_is_what_it_is_in_a_folder(
    tmp_path: Path, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build_run(tmp_path / "run", (0, 40))
    assert main(["export", str(run.path), str(tmp_path / "here"), "--format", "parquet"]) == 0
    capsys.readouterr()
    assert main(["export", str(run.path), "s3://bucket/a/there/", "--format", "parquet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["export"] == "s3://bucket/a/there/"
    there = store.folder / "bucket" / "a" / "there"
    assert sorted(path.name for path in there.iterdir()) == sorted(path.name for path in (tmp_path / "here").iterdir())
    assert pq.read_table(there).equals(pq.read_table(tmp_path / "here"))
    assert store.written[-1] == "_result.json"


def deliver(url: str, *files: str, problem: Exception | None = None) -> None:
    with delivered(url) as folder:
        folder.mkdir()
        for name in files:
            (folder / name).write_text(name)
        if problem:
            raise problem


def test_what_is_there_is_not_replaced(store: ObjectStore) -> None:
    (store.folder / "bucket" / "a").mkdir()
    (store.folder / "bucket" / "a" / "part.parquet").touch()
    with pytest.raises(InputError, match="s3://bucket/a: has what an export that was killed has left"):
        deliver("s3://bucket/a", "x")
    (store.folder / "bucket" / "a" / "_result.json").touch()
    with pytest.raises(InputError, match="is there already, and is not replaced"):
        deliver("s3://bucket/a", "x")
    assert store.written == []


def test_an_export_that_fails_leaves_nothing_in_the_store(store: ObjectStore) -> None:
    with pytest.raises(ZeroDivisionError):
        deliver("s3://bucket/a", "x", problem=ZeroDivisionError())
    assert store.written == []


def test_a_store_that_refuses_is_told_with_the_url(store: ObjectStore) -> None:
    store.is_read_only = True
    with pytest.raises(RunError, match=r"^s3://bucket/a/x: .*403 Forbidden"):
        deliver("s3://bucket/a", "_result.json", "x")


def test_a_large_file_goes_in_parts(store: ObjectStore) -> None:
    data = bytes(range(256)) * 70_000  # 18 MB
    with delivered("s3://bucket/a") as folder:
        folder.mkdir()
        (folder / "x.npy").write_bytes(data)
    assert len(store.parts) == 3
    assert (store.folder / "bucket" / "a" / "x.npy").read_bytes() == data
