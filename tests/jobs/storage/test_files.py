"""Files where the file system lacks something: syncs of folders, links, locks; and where other hosts have the same pids."""

import errno
import fcntl
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.storage.files import exists, intact, is_file, replacing, server_time, temporary_name, write_bytes, write_once
from jobs.storage.locks import try_lock


def refuse(number: int) -> Any:
    def call(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture
def no_folder_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.usefixtures("no_folder_sync")
def test_a_file_is_written_where_folders_cannot_be_synced(tmp_path: Path) -> None:
    write_bytes(tmp_path / "whole", b"a")
    assert write_once(tmp_path / "once", b"b") == b"b"
    assert (tmp_path / "whole").read_bytes() == b"a"


def test_a_disk_that_fails_under_a_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write_bytes(tmp_path / "whole", b"a")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_write_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as found, replacing(tmp_path / "large"):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    assert found.value.filename == str(tmp_path / "large")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_one_of_several_has_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    found: list[bytes] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        found.append(write_once(tmp_path / "once", b"%d" % number))

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {(tmp_path / "once").read_bytes()}
    assert [path.name for path in tmp_path.iterdir()] == ["once"]


def test_two_processes_with_one_pid_have_temporary_files_of_their_own(tmp_path: Path) -> None:
    assert len({temporary_name(tmp_path / "plan.json") for _ in range(100)}) == 100


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_nobody_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fcntl, "fcntl", refuse(number))
    with (tmp_path / "file").open("wb") as file:
        assert try_lock(file.fileno()) is None


def test_the_time_is_that_of_the_file_server(tmp_path: Path) -> None:
    before = time.time()
    assert before - 1 < server_time(tmp_path) < time.time() + 1
    assert list(tmp_path.iterdir()) == []
    before = time.time()
    assert before <= server_time(tmp_path / "nowhere") <= time.time()


def test_a_file_that_is_replaced_on_nfs_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    answers = iter([OSError(errno.ESTALE, "Stale file handle"), "new"])

    def read(path: Path) -> object:
        if isinstance(answer := next(answers), OSError):
            raise answer
        return answer

    assert intact(tmp_path / "plan.json", read, "") == "new"
    with pytest.raises(OSError, match="Permission denied"):
        intact(tmp_path / "plan.json", refuse(errno.EACCES), "")


def test_a_name_that_cannot_be_looked_at_is_not_taken_for_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert exists(tmp_path)
    assert not is_file(tmp_path)
    assert is_file(tmp_path / "file")
    for gone in (tmp_path / "gone", tmp_path / "file" / "inside", Path("a\0b")):
        assert not exists(gone)
        assert not is_file(gone)
    for look in (exists, is_file):
        with pytest.raises(OSError, match="too long"):
            look(tmp_path / ("x" * 5000))
