"""Scratch: folders that outlive no process for long, and nothing else that is ever removed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.machine.scratch import make_scratch

_MAKE = """
import sys
from pathlib import Path
from jobs.machine.scratch import make_scratch
print(make_scratch(Path(sys.argv[1]), *sys.argv[2:]), flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(folder: Path, *prefix: str) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """A process that has made a folder and lives on; with that folder."""
    command = [sys.executable, "-c", _MAKE, str(folder), *prefix]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Path(process.stdout.readline().strip()), process


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_what_a_killed_process_left_goes_when_the_next_folder_is_made(tmp_path: Path) -> None:
    with owner(tmp_path) as (left, process):
        (left / "model").mkdir()
        (left / "model" / "weights").write_bytes(b"x" * 1000)
        kill(process)
    assert left.exists()
    mine = make_scratch(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_the_folders_of_living_processes_stay(tmp_path: Path) -> None:
    with owner(tmp_path) as (first, process), owner(tmp_path) as (second, _):
        mine = {make_scratch(tmp_path), make_scratch(tmp_path)}
        assert set(tmp_path.iterdir()) == {first, second} | mine
        kill(process)
        mine.add(make_scratch(tmp_path))
        assert set(tmp_path.iterdir()) == {second} | mine


@pytest.mark.parametrize("change", ["-9f3c2a11-", "-results-"])
def test_folders_of_other_machines_and_of_users_stay(tmp_path: Path, change: str) -> None:
    with owner(tmp_path) as (left, process):
        kill(process)
    machine = left.name.split("-")[1]
    other = left.rename(tmp_path / left.name.replace(f"-{machine}-", change))
    (tmp_path / "launcher-results").mkdir()
    make_scratch(tmp_path)
    assert other.exists()
    assert (tmp_path / "launcher-results").exists()


def test_folders_with_another_prefix_stay(tmp_path: Path) -> None:
    with owner(tmp_path, ".probe-") as (left, process):
        kill(process)
    make_scratch(tmp_path)
    assert left.exists()
    make_scratch(tmp_path, ".probe-")
    assert not left.exists()


def test_a_link_that_has_such_a_name_is_not_followed(tmp_path: Path) -> None:
    with owner(tmp_path) as (left, process):
        kill(process)
    data = tmp_path / "data"
    data.mkdir()
    (data / "precious").write_text("yes")
    left.rmdir()
    left.symlink_to(data)
    make_scratch(tmp_path)
    assert (data / "precious").read_text() == "yes"


def test_where_nobody_may_list_the_folder_the_next_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert make_scratch(tmp_path).is_dir()
