"""Stage: copies of objects on the node, made once for all workers, not too many, and none taken from under a worker's feet."""

import errno
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs import remote
from jobs.references.stores import copy_to, read_chunks
from jobs.remote import Stage
from tests.support.object_store import ObjectStore, serving

pytest.importorskip("obstore")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    (tmp_path / "bucket").mkdir()
    for number in range(100):
        (tmp_path / "bucket" / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    with serving(tmp_path) as found:
        yield found


def test_an_object_is_fetched_once_for_all_stages_of_a_folder(tmp_path: Path, store: ObjectStore) -> None:
    one, other = Stage(tmp_path / "stage"), Stage(tmp_path / "stage")
    path = one.path("s3://bucket/7.bin")
    assert path.read_bytes() == bytes([7]) * 1000
    assert path.suffix == ".bin"
    assert other.path("s3://bucket/7.bin") == one.path("s3://bucket/7.bin") == path
    assert store.asked["GET"] == 1
    assert one.path(str(path)) == path  # a path is one already
    one.close()
    other.close()


def test_an_object_of_a_long_name_in_any_script_has_a_copy(tmp_path: Path, store: ObjectStore) -> None:
    name = f"{'画' * 80}.bin"
    (tmp_path / "bucket" / name).write_bytes(b"x")
    path = Stage(tmp_path / "stage").path(f"s3://bucket/{name}")
    assert (path.read_bytes(), path.suffix) == (b"x", ".bin")


def test_what_was_not_asked_for_lately_makes_room_but_not_what_a_worker_holds(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.remote._KEPT", 3)
    monkeypatch.setattr("jobs.remote._KEPT_PART", 1)
    holder, stage = Stage(tmp_path / "stage", 10_000), Stage(tmp_path / "stage", 10_000)
    held = [holder.path(f"s3://bucket/{number}.bin") for number in range(3)]
    for number in range(50):
        assert stage.path(f"s3://bucket/{number}.bin").read_bytes() == bytes([number]) * 1000
        assert sum(path.stat().st_size for path in (tmp_path / "stage").iterdir()) <= 10_000
    assert [path.read_bytes()[0] for path in held] == [0, 1, 2]
    holder.close()
    stage.close()


def test_an_object_that_is_not_there_leaves_nothing(tmp_path: Path, store: ObjectStore) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        Stage(tmp_path / "stage").path("s3://bucket/nothing")
    assert [path.suffix for path in (tmp_path / "stage").iterdir()] == [".lock"]


def test_several_that_want_an_object_at_once_fetch_it_once_and_hold_the_same_copy(
    tmp_path: Path, store: ObjectStore
) -> None:
    stages = [Stage(tmp_path / "stage", 1500) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda stage: stage.path("s3://bucket/7.bin"), stages))
    assert store.asked["GET"] == 1
    (path,) = paths
    for stage in stages[1:]:
        stage.close()
    stages[1].path("s3://bucket/8.bin")
    stages[1].path("s3://bucket/9.bin")  # for which there is no room but where the first one holds something
    assert stages[0].path("s3://bucket/7.bin") == path
    assert path.read_bytes() == bytes([7]) * 1000
    path.unlink()  # by somebody who heeds no lock
    assert stages[0].path("s3://bucket/7.bin").read_bytes() == bytes([7]) * 1000


def test_without_locks_each_worker_has_copies_of_its_own_and_no_more_than_there_is_room_for(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Lustre without -o flock: each sample failed."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr("jobs.remote._KEPT", 3)
    folder = tmp_path / "stage"
    one, other = Stage(folder, 10_000), Stage(folder, 10_000)
    held = [one.path(f"s3://bucket/{number}.bin") for number in range(3)]
    for number in range(20):
        assert other.path(f"s3://bucket/{number}.bin").read_bytes() == bytes([number]) * 1000
        assert sum(path.stat().st_size for path in folder.glob("*/*")) <= 10_000
    assert [path.read_bytes()[0] for path in held] == [0, 1, 2]
    assert store.asked["GET"] == 23
    one.close()
    other.close()
    assert not [*folder.glob("*/*")]


def test_what_a_killed_worker_has_left_makes_room(tmp_path: Path, store: ObjectStore) -> None:
    stage = Stage(tmp_path / "stage", 3000)
    left = tmp_path / "stage" / ".0123-old.bin.part"
    left.write_bytes(bytes(2500))
    left.with_suffix(".lock").touch()
    stage.path("s3://bucket/7.bin")
    assert not left.exists()
    assert sorted(path.suffix for path in (tmp_path / "stage").iterdir() if path.stat().st_size) == [".bin"]


def test_a_large_object_is_read_by_ranges_and_another_one_that_takes_its_place_is_no_part_of_it(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.references.stores._ANSWER", 400)
    path = store.folder / "bucket" / "7.bin"
    path.write_bytes(bytes(range(256)) * 4)
    store.tags[path] = "first"
    assert b"".join(read_chunks("s3://bucket/7.bin")) == path.read_bytes()
    assert store.asked["GET"] == 3
    chunks = read_chunks("s3://bucket/7.bin")
    assert len(next(chunks)) == 400
    store.tags[path] = "second"
    with pytest.raises(OSError, match=r"s3://bucket/7\.bin"):
        next(chunks)


def test_a_full_disk_is_not_called_the_objects_fault(tmp_path: Path, store: ObjectStore) -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left on device") as caught:
            copy_to("s3://bucket/7.bin", file)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, None)


def test_a_child_of_a_process_that_has_read_a_store_is_told_so_and_does_not_wait_for_ever(store: ObjectStore) -> None:
    remote.read_all("s3://bucket/7.bin")
    child = multiprocessing.get_context("fork").Process(target=_forked)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def _forked() -> None:
    with pytest.raises(OSError, match="the process that this one was forked from has read from a store already"):
        remote.read_all("s3://bucket/7.bin")


def test_many_processes_share_a_folder_that_is_too_small(tmp_path: Path, store: ObjectStore) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_child, args=(tmp_path / "stage", number)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]


def _child(folder: Path, number: int) -> None:
    stage = Stage(folder, 5000)
    for step in range(60):
        name = (step * (number + 1)) % 20
        assert stage.path(f"s3://bucket/{name}.bin").read_bytes() == bytes([name]) * 1000
